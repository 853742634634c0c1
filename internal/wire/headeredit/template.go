package headeredit

import (
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Kind is a kind of variable.
type Kind uint8

const (
	text Kind = iota // no variable
	ClientIP
	ClientPort
	SessionID
	RequestID
	Host
	Scheme
	SNI
	TLSVersion
	Listener
	Route
	Pool
	Backend
	URI    // path and query
	Path   // both as received
	Query  // without its question mark
	Search // with its question mark, if there is a query
	ForwardedFor
	Claim // has a name, as part does
	part  // a header field, a cookie or a parameter of the query
	// Of a Location alone: what a group of a regular expression has matched, and what
	// follows the path that a route matches.
	capture
	pathRest
)

// restWord is the word of pathRest, and restVariable the variable.
const (
	restWord     = "path_rest"
	restVariable = "${" + restWord + "}"
)

var words = [...]string{
	ClientIP: "client_ip", ClientPort: "client_port", SessionID: "session_id", RequestID: "request_id", Host: "host",
	Scheme: "scheme", SNI: "sni", TLSVersion: "tls_version", Listener: "listener", Route: "route", Pool: "pool", Backend: "backend",
	URI: "uri", Path: "path", Query: "query", Search: "search", ForwardedFor: "forwarded_for",
}

// named are the words before the dot of variables with names.
var named = [...]string{"header", "query", "cookie", "claim"}

// Variables lists all variables as they are written between the braces; those with a
// name end in ".NAME".
func Variables() (all []string) {
	all = append(all, words[text+1:]...)
	for _, word := range named {
		all = append(all, word+".NAME")
	}
	return all
}

// Template is a compiled value. It is immutable.
type Template struct{ pieces []piece }

type piece struct {
	kind  Kind
	text  string          // or the name of a claim
	part  requestkey.Part // of a part
	group uint8           // of a capture
	root  bool            // of a path: nothing of the URL's path stands before it
}

// maxName bounds the name of a claim, in bytes.
const maxName = 128

// Parse compiles a value: text, in which ${NAME} is a variable and $$ a dollar. The
// error says what is wrong and what to write. What a field's value may not have in
// it isn't looked for.
func Parse(value string) (t Template, err error) { return parse(value, false) }

// parse is Parse. With captures, $1 to $9 are pieces, too.
func parse(value string, captures bool) (t Template, err error) {
	literal := ""
	for rest := value; rest != ""; {
		before, after, found := strings.Cut(rest, "$")
		literal += before
		if !found {
			break
		}
		if rest, found = strings.CutPrefix(after, "$"); found {
			literal += "$"
			continue
		}
		if captures && after != "" && after[0] >= '1' && after[0] <= '9' {
			after = "{" + after[:1] + "}" + after[1:]
		}
		body, found := strings.CutPrefix(after, "{")
		if !found {
			return Template{}, fmt.Errorf("a %q begins a variable such as ${client_ip}: write $$ for the character itself", "$")
		}
		name, behind, closed := strings.Cut(body, "}")
		if !closed {
			return Template{}, fmt.Errorf("the variable %s has no end: write it as ${NAME}, or $$ for a dollar", hint.Quote("${"+body))
		}
		var p piece
		if captures && len(name) == 1 && name[0] >= '1' && name[0] <= '9' {
			p = piece{kind: capture, group: name[0] - '0'}
		} else if captures && name == restWord {
			p = piece{kind: pathRest}
		} else if p, err = parseVariable(name); err != nil {
			return Template{}, fmt.Errorf("%s: %w", hint.Quote("${"+name+"}"), err)
		}
		if literal != "" {
			t.pieces = append(t.pieces, piece{text: literal})
		}
		t.pieces, literal, rest = append(t.pieces, p), "", behind
	}
	if literal != "" {
		t.pieces = append(t.pieces, piece{text: literal})
	}
	return t, nil
}

func parseVariable(s string) (piece, error) {
	for k := text + 1; int(k) < len(words); k++ {
		if words[k] == s {
			return piece{kind: k}, nil
		}
	}
	word, name, dotted := strings.Cut(s, ".")
	switch {
	case word == "claim" && dotted:
		return piece{kind: Claim, text: name}, checkClaim(name)
	case (word == "header" || word == "query" || word == "cookie") && dotted:
		p, err := requestkey.Parse(word + ":" + name)
		if name == "" {
			err = errNoName
		}
		return piece{kind: part, part: p}, err
	}
	for _, n := range named {
		if s == n {
			return piece{}, fmt.Errorf("the name is missing, write for example ${%s.%s}", n, map[bool]string{true: "sub", false: "x"}[n == "claim"])
		}
	}
	if dotted {
		if near := hint.Nearest(word, named[:]); near != "" {
			return piece{}, fmt.Errorf("there is no such variable (did you mean %s?)", hint.Quote("${"+near+"."+name+"}"))
		}
		s = word
	}
	if near := hint.Nearest(s, append(words[text+1:], named[:]...)); near != "" {
		return piece{}, fmt.Errorf("there is no such variable (did you mean %s?)", hint.Quote("${"+near+"}"))
	}
	return piece{}, fmt.Errorf("there is no such variable (there are %s)", strings.Join(Variables(), ", "))
}

var errNoName = errors.New("the name is missing after the dot")

// checkClaim checks the name of a claim, which may be a URL.
func checkClaim(name string) error {
	switch {
	case name == "":
		return errNoName
	case len(name) > maxName:
		return fmt.Errorf("the name is longer than %d bytes", maxName)
	case strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || c == '$' || c == '{' }):
		return errors.New("the name of a claim consists of visible ASCII characters")
	}
	return nil
}

// Uses reports whether t has a variable of kind k.
func (t Template) Uses(k Kind) bool {
	for i := range t.pieces {
		if t.pieces[i].kind == k {
			return true
		}
	}
	return false
}

// append appends the value, without space around it.
func (t Template) append(dst []byte, from Source) []byte {
	start := len(dst)
	for i := range t.pieces {
		p := &t.pieces[i]
		at := len(dst)
		switch p.kind {
		case text:
			dst = append(dst, p.text...)
			continue
		case part:
			dst, _ = p.part.Append(dst, from)
		case Claim:
			value, _ := from.Claim(p.text)
			dst = append(dst, value...)
		default:
			dst = from.AppendFact(dst, p.kind)
		}
		httphead.Clean(dst[at:])
	}
	value := httphead.TrimSpace(dst[start:])
	return append(dst[:start], value...)
}

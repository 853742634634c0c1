package requestkey

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// Part is one part of a request: of a hash key, or a place to look for a token
// in. Parts that mean the same are equal. The zero Part is in no request.
type Part struct {
	kind kind
	name string // a header's in lower case; a prefix of subprotocols, or ""
	n    int    // of a segment of the path, counted from 1; name has the digits
}

// ClientIP is the part that Parse reads "client_ip" as.
var ClientIP = Part{kind: clientIP}

type kind uint8

const (
	_ kind = iota
	clientIP
	path
	segment
	uri
	header
	query
	cookie
	subprotocol
	claim
)

var kinds = [...]string{clientIP: "client_ip", path: "path", segment: "path", uri: "uri", header: "header", query: "query", cookie: "cookie", subprotocol: "subprotocol", claim: "jwt"}

// Parse reads a part of a hash key:
//
//	client_ip     the client's address; of an IPv6 address the first 64 bits
//	path          the path without the query, percent-decoded
//	path:N        the N-th segment of the path, counted from 1, percent-decoded
//	uri           path and query, as received
//	header:NAME   the value of the first field of that name, whatever its case
//	query:NAME    the value of the first parameter of that name, decoded
//	cookie:NAME   the value of the first cookie of that name
//	jwt:CLAIM     the value of a claim of the client's token, on routes that verify it
//
// The error says what is wrong with s, and what to write.
func Parse(s string) (Part, error) { return keyGrammar.parse(s) }

// ParseToken reads where to find a token: query:NAME, header:NAME, cookie:NAME,
// jwt:CLAIM, client_ip or path:N as in Parse, or
//
//	subprotocol          all subprotocols that are offered, in their order
//	subprotocol:PREFIX   the rest of the first that begins with PREFIX
//
// Besides the URL, subprotocols are all that a page can send along with a
// browser's WebSocket.
func ParseToken(s string) (Part, error) { return tokenGrammar.parse(s) }

// ParseAnswer reads where to find a token in the answer of a backend: cookie:NAME, a
// cookie that the answer sets, or header:NAME.
func ParseAnswer(s string) (Part, error) { return answerGrammar.parse(s) }

// grammar is the kinds of parts that are allowed in one place.
type grammar struct {
	what  string // what a part is called in errors
	kinds []kind
}

var (
	keyGrammar    = grammar{"key", []kind{clientIP, path, segment, uri, header, query, cookie, claim}}
	tokenGrammar  = grammar{"source", []kind{query, header, cookie, claim, clientIP, segment, subprotocol}}
	answerGrammar = grammar{"source", []kind{cookie, header}}
)

// String lists the forms that parts may have.
func (g grammar) String() string {
	var forms []string
	for _, k := range g.kinds {
		switch k {
		case clientIP, path, uri:
			forms = append(forms, kinds[k])
		case subprotocol:
			forms = append(forms, kinds[k], kinds[k]+":PREFIX")
		case claim:
			forms = append(forms, kinds[k]+":CLAIM")
		case segment:
			forms = append(forms, kinds[k]+":N")
		default:
			forms = append(forms, kinds[k]+":NAME")
		}
	}
	return strings.Join(forms[:len(forms)-1], ", ") + " or " + forms[len(forms)-1]
}

func (g grammar) parse(s string) (Part, error) {
	word, name, named := strings.Cut(s, ":")
	words := make([]string, len(g.kinds))
	for i, k := range g.kinds {
		words[i] = kinds[k]
	}
	var err error
	switch i := slices.Index(words, word); {
	case i >= 0:
		var p Part
		if p, err = g.kinds[i].part(name, named); err == nil {
			return p, nil
		}
	default:
		near := hint.Nearest(word, words)
		if near != "" && named {
			near += ":" + name
		}
		if near != "" {
			near = fmt.Sprintf(" (did you mean %s?)", hint.Quote(near))
		}
		err = fmt.Errorf("want %v%s", g, near)
	}
	return Part{}, fmt.Errorf("bad %s %s: %w", g.what, hint.Quote(s), err)
}

var examples = [...]string{header: "header:X-User", query: "query:user", cookie: "cookie:sid", subprotocol: "subprotocol:session.", claim: "jwt:sub"}

// part makes a part of a kind and the name after its colon.
func (k kind) part(name string, named bool) (p Part, err error) {
	switch {
	case k == path && named, k == segment:
		return segmentPart(name, named)
	case k == clientIP || k == path || k == uri:
		if named {
			return p, fmt.Errorf("%s stands alone, leave out what follows it", kinds[k])
		}
		return Part{kind: k}, nil
	case k == subprotocol && !named:
		return Part{kind: k}, nil
	case !named:
		return p, fmt.Errorf("the name is missing, write for example %s", examples[k])
	case name == "":
		return p, fmt.Errorf("the name is missing after %q, write for example %s", ":", examples[k])
	case k == query:
		err = checkName(name, inParameter)
	case k == claim:
		err = CheckClaim(name)
	default:
		err = CheckToken(name)
	}
	if err != nil {
		return p, err
	}
	if k == header {
		name = strings.ToLower(name)
	}
	return Part{kind: k, name: name}, nil
}

// maxSegment bounds N in path:N.
const maxSegment = 64

func segmentPart(number string, named bool) (p Part, err error) {
	n, err := strconv.Atoi(number)
	switch {
	case !named:
		return p, errors.New("the number of the segment is missing, write for example path:2")
	case err != nil || strconv.Itoa(n) != number || n < 0:
		return p, errors.New("what follows the colon is the number of a segment of the path, write for example path:2")
	case n == 0:
		return p, errors.New("the segments of the path are counted from 1")
	case n > maxSegment:
		return p, fmt.Errorf("the highest number of a segment is %d", maxSegment)
	}
	return Part{kind: segment, name: number, n: n}, nil
}

// maxName bounds the names of headers, cookies and parameters, in bytes.
const maxName = 128

func checkName(s string, allowed func(rune) bool) error {
	if len(s) > maxName {
		return fmt.Errorf("the name is longer than %d bytes", maxName)
	}
	for _, c := range s {
		if !allowed(c) {
			return fmt.Errorf("%s is not allowed in the name", hint.Quote(string(c)))
		}
	}
	return nil
}

// inParameter reports whether the name of a parameter, once decoded, may have
// c. Characters that could be meant encoded are refused.
func inParameter(c rune) bool {
	return unicode.IsGraphic(c) && c != ' ' && c != unicode.ReplacementChar && !strings.ContainsRune("&=#%+;", c)
}

// CheckClaim returns an error if s can't be the name of a claim: a claim that is named by
// a URL is possible, one with a space is not. The empty text passes.
func CheckClaim(s string) error {
	return checkName(s, func(c rune) bool { return unicode.IsGraphic(c) && c != ' ' && c != unicode.ReplacementChar })
}

// CheckToken returns an error if s is not a token (RFC 9110 section 5.6.2) or is
// too long for the name of a header, a cookie or a subprotocol. The empty text
// passes.
func CheckToken(s string) error {
	return checkName(s, func(c rune) bool { return c < 0x80 && isTokenChar(byte(c)) })
}

// CheckParameter returns an error if s can't be the name of a parameter, decoded.
func CheckParameter(s string) error {
	if s == "" {
		return errors.New("the name is empty")
	}
	return checkName(s, inParameter)
}

// IsClaim reports whether it is a claim, which only requests with a verified token have.
func (p Part) IsClaim() bool { return p.kind == claim }

// String returns the text that Parse or ParseToken reads as p.
func (p Part) String() string {
	if p.name == "" {
		return kinds[p.kind]
	}
	return kinds[p.kind] + ":" + p.name
}

// IsToken reports whether s is a token (RFC 9110 section 5.6.2), as the names of
// header fields, cookies (RFC 6265 section 4.1.1) and subprotocols must be.
func IsToken(s string) bool {
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenChar(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// find looks for the part in r. The value is valid as long as r and buf are.
func (p Part) find(r Request, buf *addrBuf) (v value, ok bool) {
	switch p.kind {
	case clientIP:
		v.raw = buf.set(r.ClientIP())
		return v, v.raw != nil
	case path:
		return value{raw: r.Path(), coding: percent}, true
	case segment:
		v.coding = percent
		v.raw, ok = nthSegment(r.Path(), p.n)
	case uri:
		return value{raw: r.Path(), coding: target}, true
	case header:
		v.raw, ok = r.Header(p.name, 0)
	case query:
		v.coding = form
		v.raw, _, ok = parameter(queryOf(r), p.name)
	case cookie:
		v.raw, ok = Cookie(r, p.name)
	case claim:
		v.text, ok = r.Claim(p.name)
	case subprotocol:
		return p.findSubprotocol(r)
	}
	return v, ok
}

// nthSegment returns what is between the n-th slash of a path and the next one.
func nthSegment(path []byte, n int) ([]byte, bool) {
	for ; n > 0; n-- {
		slash := bytes.IndexByte(path, '/')
		if slash < 0 {
			return nil, false
		}
		path = path[slash+1:]
	}
	found, _, _ := bytes.Cut(path, []byte{'/'})
	return found, true
}

const fieldSubprotocol = "sec-websocket-protocol"

// findSubprotocol looks through all fields, which are one list together (RFC
// 6455 §11.3.4).
func (p Part) findSubprotocol(r Request) (v value, ok bool) {
	if p.name == "" {
		v.coding = list
	}
	for i := 0; ; i++ {
		members, there := r.Header(fieldSubprotocol, i)
		if !there {
			return v, ok && p.name == ""
		}
		ok = true
		if p.name != "" {
			if v.raw, ok = afterPrefix(members, p.name); ok {
				return v, true
			}
		} else if first, _ := nextMember(members); first != nil {
			v.raw = first // shows that there is one; hash reads all
			return v, true
		}
	}
}

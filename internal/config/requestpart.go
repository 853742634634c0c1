package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// parts is a little grammar: the words for what of a request is meant.
type parts struct {
	what  string // what one is called in errors
	whose string // what needs at least one
	forms []partForm
	// example shows one in errors.
	example string
}

// partForm is one word of a parts, and whether ":NAME" follows.
type partForm struct {
	word string
	name func(string) error // checks the name; nil: there is none
	// optional: the word may stand alone.
	optional bool
	// as is what the name is called, such as NAME.
	as      string
	example string
}

var (
	headerForm = partForm{word: "header", name: checkToken, as: "NAME", example: "header:X-User"}
	queryForm  = partForm{word: "query", name: checkQueryName, as: "NAME", example: "query:user"}
	cookieForm = partForm{word: "cookie", name: checkToken, as: "NAME", example: "cookie:sid"}

	hashParts = parts{
		what:    "key",
		whose:   "nothing to hash",
		forms:   []partForm{{word: "client_ip"}, {word: "path"}, headerForm, queryForm, cookieForm},
		example: "client_ip or header:X-User",
	}
	tokenParts = parts{
		what:  "source",
		whose: "nowhere to take the token from",
		forms: []partForm{queryForm, headerForm, cookieForm,
			{word: "subprotocol", name: checkToken, optional: true, as: "PREFIX", example: "subprotocol:session."}},
		example: "query:session",
	}
)

// String lists the forms.
func (p parts) String() string {
	var list []string
	for _, f := range p.forms {
		if f.name == nil || f.optional {
			list = append(list, f.word)
		}
		if f.name != nil {
			list = append(list, f.word+":"+f.as)
		}
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

// parse checks one word. It comes back as it is.
func (p parts) parse(s string) (string, error) {
	bad := func(why string, args ...any) (string, error) {
		return "", fmt.Errorf("bad %s %s: %s", p.what, quote(s), fmt.Sprintf(why, args...))
	}
	word, name, named := strings.Cut(s, ":")
	if word == "jwt" {
		return bad("tokens (JWT) are not supported yet: use %v", p)
	}
	i := slices.IndexFunc(p.forms, func(f partForm) bool { return f.word == word })
	if i < 0 {
		words := make([]string, len(p.forms))
		for i, f := range p.forms {
			words[i] = f.word
		}
		near := nearest(word, words)
		if near == "" {
			return bad("want %v", p)
		}
		if named {
			near += ":" + name
		}
		return bad("want %v (did you mean %s?)", p, quote(near))
	}
	form := p.forms[i]
	switch {
	case named && form.name == nil:
		return bad("%s stands alone, leave out what follows it", word)
	case !named && form.name != nil && !form.optional:
		return bad("the name is missing, write for example %s", form.example)
	case named && name == "":
		return bad("the name is missing after %q, write for example %s", ":", form.example)
	case named:
		if err := form.name(name); err != nil {
			return bad("%v", err)
		}
	}
	return s, nil
}

// requestParts reads one or a list of p. It leaves into alone when there is a
// mistake.
func (d *decoder) requestParts(n *yaml.Node, into *[]string, p parts) {
	// [query: session] is a list of a mapping.
	expected := fmt.Sprintf("a %s such as %s, without a space after the colon", p.what, p.example)
	items, ok := d.oneOrMore(n, expected, p.whose)
	var list []string
	seen := make(map[string]place)
	for _, item := range items {
		text, isText := d.scalar(item, expected)
		if !isText {
			ok = false
			continue
		}
		part, err := p.parse(text.value)
		if err != nil {
			d.fail(text.at, "%v", err)
			ok = false
			continue
		}
		same := part
		if strings.HasPrefix(part, "header:") {
			same = strings.ToLower(part) // RFC 9110 section 5.1
		}
		ok = d.checkUnique(seen, p.what, located[string]{same, text.at, true}) && ok
		list = append(list, part)
	}
	if ok {
		*into = list
	}
}

// Bounds of hash.bound: below the lowest, hardly anything goes where its key
// says; above the highest, the bound does nothing.
const (
	minBound = 1.05
	maxBound = 10
)

// bound reads hash.bound. It leaves into alone when there is a mistake.
func (d *decoder) bound(n *yaml.Node, into *float64) {
	n, ok := d.value(n)
	if !ok {
		return
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" && n.ShortTag() != "!!float" {
		d.wrongType(n, "a number such as 1.25")
		return
	}
	v, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || v != 0 && !(minBound <= v && v <= maxBound) {
		d.fail(d.at(n), "expected a number from %v to %v, or 0 for no bound, got %s", minBound, maxBound, cut(n.Value))
		return
	}
	*into = v
}

// maxWord bounds the names of headers, cookies and parameters, in bytes.
const maxWord = 128

// checkToken checks the form that names of headers, cookies and subprotocols
// share: the token of RFC 9110 section 5.6.2.
func checkToken(s string) error {
	return checkWord(s, func(c rune) bool { return isAlnum(c) || strings.ContainsRune("!#$%&'*+-.^_`|~", c) })
}

// checkQueryName checks the name of a parameter in the query: what it is after
// decoding, and without anything that may have been meant encoded.
func checkQueryName(s string) error {
	return checkWord(s, func(c rune) bool {
		return unicode.IsGraphic(c) && c != ' ' && c != unicode.ReplacementChar && !strings.ContainsRune("&=#%+;", c)
	})
}

func checkWord(s string, allowed func(rune) bool) error {
	if len(s) > maxWord {
		return fmt.Errorf("the name is longer than %d bytes", maxWord)
	}
	for _, c := range s {
		if !allowed(c) {
			return fmt.Errorf("%s is not allowed in the name", quote(string(c)))
		}
	}
	return nil
}

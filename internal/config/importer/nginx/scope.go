package nginx

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// scope is what is known about the requests that a part of the configuration is for.
type scope struct {
	cv     *converter
	socket *socket
	server *server
	match  config.Match      // what routes match
	env    map[string]string // values of variables: of set, and those chosen from maps
	proxy  *target           // where the requests go, once that is known
	depth  int               // of variables within variables

	// captures is the regular expression over the path whose groups $1 and the like are;
	// "" if they are those of another text.
	captures string
	nested   string // the beginning of the path of the locations around
}

// maxVariables bounds variables within variables, and maxSteps how many are resolved
// there in all: each may be made of several others.
const (
	maxVariables = 20
	maxSteps     = 2_000_000
)

// maxValue bounds the value of a variable, in bytes: a variable may be made of itself,
// and of itself twice.
const maxValue = 8 << 10

var errValue = errors.New("a text with variables would be longer than 8 KiB")

// inner is sc for the value of a variable.
func (sc *scope) inner() *scope {
	c := *sc
	sc.cv.steps++
	if c.depth++; c.depth > maxVariables || sc.cv.steps > maxSteps {
		c.env = nil // a variable that is made of itself has no value
	}
	return &c
}

// deeper is sc for a map within another.
func (sc *scope) deeper() *scope {
	c := *sc
	c.depth++
	return &c
}

// with returns a scope in which a variable has a value.
func (sc *scope) with(name, value string) *scope {
	c := *sc
	c.env = maps.Clone(sc.env)
	if c.env == nil {
		c.env = map[string]string{}
	}
	// A value that was set before is part of this one: set $a "$a/x".
	var b strings.Builder
	for _, p := range split(value) {
		before, set := sc.env[p.variable]
		switch {
		case p.variable == "":
			b.WriteString(p.text)
		case set:
			b.WriteString(before)
		default:
			b.WriteString("${" + p.variable + "}")
		}
	}
	if c.env[name] = b.String(); b.Len() > maxValue {
		delete(c.env, name) // refused where it is used
	}
	return &c
}

// matching returns a scope for requests that also fulfil a condition; nil if there are
// none. rest reports whether there are others.
func (sc *scope) matching(c condition) (in *scope, rest bool, err error) {
	n := *sc
	n.match = cloneMatch(&sc.match)
	v, err := sc.add(&n.match, c)
	switch {
	case err != nil:
		return nil, true, err
	case v == never:
		return nil, true, nil
	}
	if c.regex != "" {
		n.captures = ""
		if n.match.PathRegex.String() == c.regex && strings.HasSuffix(c.of, "uri") {
			n.captures = c.regex
		}
	}
	return &n, v == depends, nil
}

func cloneMatch(m *config.Match) config.Match {
	c := *m
	c.Not = append([]config.Match(nil), m.Not...)
	return c
}

// beyond is what m asks for in addition to what base does, of which m was made.
func beyond(m, base *config.Match) config.Match {
	c := *m
	value, other := reflect.ValueOf(&c).Elem(), reflect.ValueOf(base).Elem()
	for i := range value.NumField() {
		if reflect.DeepEqual(value.Field(i).Interface(), other.Field(i).Interface()) {
			value.Field(i).SetZero()
		}
	}
	c.Not = c.Not[min(len(base.Not), len(c.Not)):]
	return c
}

// maxVariants bounds the routes that maps make of one location.
const maxVariants = 500

var errVariants = errors.New("the maps that are used here would make more than 500 routes")

// variants are the scopes in which all maps that are used in some texts have a value, in
// the order in which their conditions must be tried.
func (sc *scope) variants(texts []string) ([]*scope, error) {
	m := sc.firstMap(texts, nil)
	switch {
	case m == nil:
		return []*scope{sc}, nil
	case sc.depth > maxVariables:
		return nil, fmt.Errorf("the map on line %s is made of itself", lineOf(m.d))
	}
	sc = sc.deeper()
	source := split(m.source)
	if len(source) != 1 || source[0].variable == "" {
		return nil, fmt.Errorf("the map on line %s is over several variables, and routes look at one at a time", lineOf(m.d))
	}
	var list []*scope
	more := func(in *scope, value string, d *syntax.Directive) error {
		inner, err := in.with(m.name, value).variants(texts)
		if list = append(list, inner...); err == nil && len(list) > maxVariants {
			err = errVariants
		}
		if err == nil && d != nil {
			sc.cv.carry(d)
		}
		return err
	}
	// The source may be a map itself.
	outer, err := sc.variants([]string{m.source})
	if err != nil {
		return nil, err
	}
	for _, in := range outer {
		done := false
		for _, e := range m.entries {
			c := condition{of: source[0].variable, text: e.key, fold: true}
			if e.regex {
				c = condition{of: source[0].variable, regex: e.key}
			}
			if m.wild || m.geo {
				if c, err = m.special(e, source[0].variable); err != nil {
					return nil, err
				}
			}
			if e.regex && strings.Contains(e.value, "$") && usesCaptures(e) {
				return nil, fmt.Errorf("the map on line %s takes a part of what it matches, which routes can't pass on", lineOf(m.d))
			}
			narrower, rest, err := in.matching(c)
			if err != nil {
				return nil, err
			}
			if narrower == nil {
				continue
			}
			if err := more(narrower, e.value, e.d); err != nil {
				return nil, err
			}
			if !rest {
				done = true
				break
			}
		}
		if !done {
			if err := more(in, m.fallback, nil); err != nil {
				return nil, err
			}
		}
	}
	sc.cv.carry(m.d)
	for _, d := range m.d.Block {
		sc.cv.carry(d)
	}
	return list, nil
}

// special is the condition of an entry whose key is a wildcard or a network.
func (m *mapping) special(e entry, of string) (condition, error) {
	if m.geo {
		p, err := parseNetwork(e.key)
		if err != nil {
			return condition{}, err
		}
		return condition{of: of, nets: []netip.Prefix{p}}, nil
	}
	if e.regex {
		return condition{of: of, regex: e.key}, nil
	}
	if expression := wildcard(e.key); expression != "" {
		return condition{of: of, regex: expression}, nil
	}
	return condition{of: of, text: e.key, fold: true}, nil
}

// usesCaptures reports whether the value of an entry has what its expression captures.
func usesCaptures(e entry) bool {
	for _, p := range split(e.value) {
		if p.variable != "" && (p.variable[0] <= '9' || strings.Contains(strings.ToLower(e.key), "<"+p.variable+">")) {
			return true
		}
	}
	return false
}

// firstMap finds the first map that texts use and whose value isn't known. seen has the
// variables that were looked at.
func (sc *scope) firstMap(texts []string, seen map[string]bool) *mapping {
	for _, text := range texts {
		if !strings.Contains(text, "$") {
			continue
		}
		for _, p := range split(text) {
			if p.variable == "" || seen[p.variable] {
				continue
			}
			value, known := sc.env[p.variable]
			if !known {
				if m := sc.cv.maps[p.variable]; m != nil {
					return m
				}
				continue
			}
			if seen == nil {
				seen = map[string]bool{}
			}
			seen[p.variable] = true
			if m := sc.firstMap([]string{value}, seen); m != nil {
				return m
			}
		}
	}
	return nil
}

// parseIf reads the condition of an if.
func parseIf(d *syntax.Directive) (condition, error) {
	bad := fmt.Errorf("the condition isn't understood: write for example if ($host = example.com)")
	args := append([]string(nil), d.Args...)
	if len(args) == 0 || !strings.HasPrefix(args[0], "(") {
		return condition{}, bad
	}
	args[0] = args[0][1:]
	if args[0] == "" {
		args = args[1:]
	}
	n := len(args)
	if n == 0 || !strings.HasSuffix(args[n-1], ")") {
		return condition{}, bad
	}
	if args[n-1] = args[n-1][:len(args[n-1])-1]; args[n-1] == "" && (n != 3) {
		args = args[:n-1]
	}
	if len(args) == 4 && args[3] == "" {
		args = args[:3]
	}
	if len(args) == 0 || !strings.HasPrefix(args[0], "$") {
		if len(args) > 0 && strings.HasPrefix(strings.TrimPrefix(args[0], "!"), "-") {
			return condition{}, errors.New("holdfast looks at no files")
		}
		return condition{}, bad
	}
	c := condition{of: variableName(strings.Trim(args[0][1:], "{}"))}
	if len(args) == 1 {
		c.truth = true
		return c, nil
	}
	value := ""
	if len(args) == 3 {
		value = args[2]
	} else if len(args) != 2 {
		return condition{}, bad
	}
	if strings.Contains(value, "$") && len(split(value)) > 0 && (args[1] == "=" || args[1] == "!=") {
		for _, p := range split(value) {
			if p.variable != "" {
				return condition{}, errors.New("two variables can't be compared")
			}
		}
	}
	op, negated := strings.CutPrefix(args[1], "!")
	c.not = negated
	switch op {
	case "=", "==":
		c.text = value
	case "~":
		c.regex = value
	case "~*":
		c.regex = "(?i)" + value
	default:
		return condition{}, fmt.Errorf("unknown comparison %s", hint.Quote(args[1]))
	}
	if value == "" && op != "=" {
		return condition{}, bad
	}
	return c, nil
}

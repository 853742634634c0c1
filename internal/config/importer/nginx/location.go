package nginx

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// location is a block location, with those in it.
type location struct {
	d  *syntax.Directive
	lv *level

	path  string // of exact locations and prefixes
	exact bool
	first bool   // "^~": regular expressions aren't tried
	regex string // with (?i) if case doesn't matter
	name  string // of @name

	inner locations
}

// locations are those of one block, in nginx's order.
type locations struct {
	exact    []*location
	prefixes []*location // the longest first
	regexes  []*location
	named    []*location
}

func (l *locations) empty() bool { return len(l.exact)+len(l.prefixes)+len(l.regexes) == 0 }

// all lists the locations of a block.
func (l *locations) all() []*location {
	return slices.Concat(l.exact, l.prefixes, l.regexes, l.named)
}

// locations reads the locations of a block. outer is the location around them; nil in a
// server.
func (cv *converter) locations(lv *level, outer *location) (list locations) {
	seen := map[string]*location{}
	for _, d := range lv.own("location") {
		loc, err := parseLocation(d)
		if err == nil && loc.regex != "" {
			_, err = cv.parseRegex(loc.regex)
		}
		if err == nil && outer != nil {
			err = outer.mayHave(loc)
		}
		if err != nil {
			cv.refuse(d, err.Error())
			continue
		}
		key := fmt.Sprint(loc.exact, loc.path, loc.regex, loc.name)
		if other := seen[key]; other != nil && loc.regex == "" {
			cv.refuse(d, "there is the same location on line "+lineOf(other.d))
			continue
		}
		seen[key] = loc
		loc.lv = lv.within(d)
		loc.inner = cv.locations(loc.lv, loc)
		if loc.regex != "" {
			cv.expressions = append(cv.expressions, loc.regex)
		}
		switch {
		case loc.name != "":
			list.named = append(list.named, loc)
		case loc.regex != "":
			list.regexes = append(list.regexes, loc)
		case loc.exact:
			list.exact = append(list.exact, loc)
		default:
			list.prefixes = append(list.prefixes, loc)
		}
	}
	slices.SortStableFunc(list.prefixes, func(a, b *location) int { return len(b.path) - len(a.path) })
	return list
}

func parseLocation(d *syntax.Directive) (*location, error) {
	loc := &location{d: d}
	if !d.HasBlock || len(d.Args) == 0 || len(d.Args) > 2 {
		return nil, fmt.Errorf("write it as location /path { … }")
	}
	modifier, text := "", d.Args[0]
	if len(d.Args) == 2 {
		modifier, text = d.Args[0], d.Args[1]
	} else {
		for _, m := range []string{"=", "^~", "~*", "~"} { // they may stand without a space
			if rest, ok := strings.CutPrefix(text, m); ok {
				modifier, text = m, rest
				break
			}
		}
	}
	switch modifier {
	case "":
		if rest, ok := strings.CutPrefix(text, "@"); ok {
			loc.name = rest
			return loc, nil
		}
		loc.path = text
	case "=":
		loc.path, loc.exact = text, true
	case "^~":
		loc.path, loc.first = text, true
	case "~":
		loc.regex = text
	case "~*":
		loc.regex = "(?i)" + text
	default:
		return nil, fmt.Errorf("unknown modifier %s: nginx knows =, ^~, ~ and ~*", hint.Quote(modifier))
	}
	if loc.regex != "" {
		return loc, nil
	}
	if !strings.HasPrefix(loc.path, "/") {
		return nil, fmt.Errorf("no path begins with %s: paths begin with a slash", hint.Quote(loc.path))
	}
	var err error
	if loc.exact {
		_, err = exactPath(loc.path)
	} else {
		_, err = beginPath(loc.path)
	}
	return loc, err
}

// mayHave checks a location within loc, as nginx does.
func (loc *location) mayHave(inner *location) error {
	switch {
	case inner.name != "":
		return fmt.Errorf("a named location can be only in a server")
	case loc.exact:
		return fmt.Errorf("an exact location can't have others in it")
	case loc.regex != "" && inner.regex == "":
		return fmt.Errorf("a path in a location that is a regular expression: write it as one, too")
	case inner.regex == "" && !strings.HasPrefix(inner.path, loc.path):
		return fmt.Errorf("it is outside of the location %s around it", loc.path)
	}
	return nil
}

// exactPath is a path of nginx, which is decoded, as one for routes.
func exactPath(s string) (pattern.ExactPath, error) {
	return pattern.ParseExactPath(encode(s))
}

// beginPath is the beginning of a path as one for routes; "" for all paths.
func beginPath(s string) (string, error) {
	if s == "/" {
		return "", nil
	}
	p, err := pattern.ParseBeginPath(encode(s))
	return p.String(), err
}

// encode percent-encodes what a path can't have otherwise.
func encode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < 0x80 && pattern.IsPathChar(rune(c)) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// emit makes the routes of the locations of a block, in an order in which the first that
// matches is the location that nginx takes:
//
//   - An exact location comes first.
//   - Of prefixes, the longest counts. It only decides if there is no regular expression
//     that matches, unless it has "^~".
//   - The locations in a prefix are looked at first, and the regular expressions in it
//     before those around it.
//
// regexes are those of the blocks around that are tried for the paths of the block.
func (sc *scope) emit(list *locations, regexes []*location) (routes []*route, err error) {
	for _, loc := range list.exact {
		if err := sc.exactly(loc, &routes); err != nil {
			return nil, err
		}
	}
	sc.addSlashes(list, &routes)
	around := regexes
	regexes = append(slices.Clone(list.regexes), regexes...)
	// Those that the regular expressions don't simply come before are made on their own.
	own := make([]bool, len(list.prefixes))
	for i := len(list.prefixes) - 1; i >= 0; i-- {
		loc := list.prefixes[i]
		own[i] = loc.first || !loc.inner.empty()
		for j := i + 1; j < len(list.prefixes); j++ {
			own[i] = own[i] || own[j] && strings.HasPrefix(loc.path, list.prefixes[j].path)
		}
	}
	for i, loc := range list.prefixes {
		if own[i] {
			tried := regexes
			if loc.first {
				tried = around
			}
			if err := sc.prefix(loc, tried, &routes); err != nil {
				return nil, err
			}
		}
	}
	if err := sc.expressions(regexes, &routes); err != nil {
		return nil, err
	}
	for i, loc := range list.prefixes {
		if !own[i] {
			if err := sc.prefix(loc, nil, &routes); err != nil {
				return nil, err
			}
		}
	}
	return routes, nil
}

// addSlashes sends clients that ask for a location without its final slash there, as
// nginx does for locations with a proxy_pass.
func (sc *scope) addSlashes(list *locations, routes *[]*route) {
	for _, loc := range slices.Concat(list.prefixes, list.exact) {
		bare, ok := strings.CutSuffix(loc.path, "/")
		if !ok || bare == "" || !loc.lv.has("proxy_pass") && !loc.lv.has("grpc_pass") && !loc.lv.has("fastcgi_pass") && !loc.lv.has("uwsgi_pass") {
			continue
		}
		if slices.ContainsFunc(list.all(), func(other *location) bool { return other.path == bare }) {
			continue
		}
		in := sc.at(loc)
		exact, err := exactPath(bare)
		if in == nil || err != nil || !strings.HasPrefix(bare, sc.nested) {
			continue
		}
		in.match.PathBegins, in.match.PathExact = "", exact
		r := in.route(loc.d)
		r.Redirect = &config.Redirect{To: in.absolute(loc.lv, encode(loc.path)+"${search}"), Status: 301}
		*routes = append(*routes, r)
	}
}

// at is sc for the requests of a location; nil if there can't be any.
func (sc *scope) at(loc *location) *scope {
	c := *sc
	c.match = cloneMatch(&sc.match)
	switch {
	case loc.exact:
		c.match.PathBegins = ""
		c.match.PathExact, _ = exactPath(loc.path) // parseLocation has checked it
	case loc.regex == "":
		c.match.PathBegins, _ = beginPath(loc.path)
		c.nested = loc.path
	}
	return &c
}

func (sc *scope) exactly(loc *location, routes *[]*route) error {
	made, err := sc.at(loc).body(loc)
	*routes = append(*routes, made...)
	return err
}

// prefix makes the routes of a prefix, with the regular expressions that are tried for
// its paths.
func (sc *scope) prefix(loc *location, regexes []*location, routes *[]*route) error {
	in := sc.at(loc)
	if !loc.inner.empty() {
		made, err := in.emit(&loc.inner, regexes)
		if err != nil {
			return err
		}
		*routes = append(*routes, made...)
	} else if err := in.expressions(regexes, routes); err != nil {
		return err
	}
	made, err := in.body(loc)
	*routes = append(*routes, made...)
	return err
}

// expressions makes the routes of regular expressions, in their order.
func (sc *scope) expressions(list []*location, routes *[]*route) error {
	for _, loc := range list {
		if apart(sc.match.PathBegins, loc.regex) {
			continue
		}
		in := sc.at(loc)
		v, err := in.add(&in.match, condition{of: "uri", regex: loc.regex})
		if err != nil {
			sc.cv.refuse(loc.d, err.Error())
			continue
		}
		if v == never {
			continue
		}
		in.nested, in.captures = "", ""
		if in.match.PathRegex.String() == loc.regex {
			in.captures = loc.regex
		}
		for _, inner := range loc.inner.regexes {
			if err := in.expressions([]*location{inner}, routes); err != nil {
				return err
			}
		}
		made, err := in.body(loc)
		if err != nil {
			return err
		}
		*routes = append(*routes, made...)
		if len(*routes) > maxRoutes {
			return errRoutes
		}
	}
	return nil
}

// apart reports whether no path can both have a beginning and match an expression, as far
// as that is easily seen.
func apart(begin, expression string) bool {
	literal, ok := strings.CutPrefix(expression, "^")
	if !ok || strings.Contains(expression, "|") || begin == "" {
		return false
	}
	end := len(literal) - len(strings.TrimLeftFunc(literal, func(c rune) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '/' || c == '-' || c == '_'
	}))
	if end < len(literal) && strings.IndexByte("*+?{", literal[end]) >= 0 {
		end-- // the last character may be missing
	}
	literal = literal[:max(end, 0)]
	return !strings.HasPrefix(begin, literal) && !strings.HasPrefix(literal, begin)
}

// maxRoutes bounds the routes of a file. Each location may be many, for listeners, names
// and maps.
const maxRoutes = 20_000

var errRoutes = fmt.Errorf("the file would become more than %d routes", maxRoutes)

// wildcard is the regular expression for a name such as *.example.com, .example.com or
// www.example.*; "" for a name without a wildcard.
func wildcard(name string) string {
	name = strings.ToLower(name)
	switch {
	case strings.HasPrefix(name, "."):
		return `^(?:.+\.)?` + regexp.QuoteMeta(name[1:]) + "$"
	case strings.HasPrefix(name, "*."):
		return `^.+\.` + regexp.QuoteMeta(name[2:]) + "$"
	case strings.HasSuffix(name, ".*"):
		return `^` + regexp.QuoteMeta(name[:len(name)-2]) + `\..+$`
	}
	return ""
}

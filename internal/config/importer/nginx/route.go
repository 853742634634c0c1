package nginx

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// route is a route that is being made.
type route struct {
	config.Route
	d     *syntax.Directive // where it is from
	index int               // in the Config, from 1; 0 if it isn't in it
	same  *route            // one that is used in its place
}

// route begins a route for the requests of the scope.
func (sc *scope) route(d *syntax.Directive) *route {
	return &route{Route: config.Route{Match: cloneMatch(&sc.match)}, d: d}
}

// path is the path of the route in the Config; "" if it isn't in it.
func (r *route) path() config.Path {
	if r.same != nil {
		r = r.same
	}
	if r.index == 0 {
		return ""
	}
	return config.Path("routes").Index(r.index - 1)
}

// capture makes expression the one whose captures the route's templates have. One that
// was there before stays a condition.
func (r *route) capture(expression string) error {
	re, err := pattern.ParseRegex(expression)
	if err != nil {
		return err
	}
	if !r.Match.PathRegex.IsZero() {
		if err := merge(&r.Match, &config.Match{PathRegex: r.Match.PathRegex}); err != nil {
			return err
		}
	}
	r.Match.PathRegex = re
	return nil
}

// matchText is a match as a text that is the same for equal ones.
func matchText(m *config.Match) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s|%s|%s|%s|%s|%s|%s|", m.Listener, m.Host, m.HostRegex, m.Path, m.PathExact, m.PathBegins, m.PathRegex)
	if m.WebSocket != nil {
		fmt.Fprint(&b, *m.WebSocket)
	}
	fmt.Fprintf(&b, "|%q|%q|%q|%v|", m.Method, m.Header, m.Query, m.Client)
	if m.ClientCert != nil {
		fmt.Fprint(&b, *m.ClientCert.Verified)
	}
	for i := range m.Not {
		b.WriteString("{" + matchText(&m.Not[i]) + "}")
	}
	return b.String()
}

// sameRoutes reports whether two lists do the same.
func sameRoutes(a, b []*route) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i].Route, b[i].Route
		if matchText(&x.Match) != matchText(&y.Match) {
			return false
		}
		x.Match, y.Match = config.Match{}, config.Match{}
		if !reflect.DeepEqual(x, y) {
			return false
		}
	}
	return true
}

// addRoutes puts the routes of all sockets into the Config. Those that are the same on
// all of them are there once.
func (cv *converter) addRoutes(lists [][]*route, sockets []*socket) error {
	same := true
	for _, list := range lists[1:] {
		same = same && sameRoutes(lists[0], list)
	}
	if same {
		for _, list := range lists[1:] {
			for i := range list {
				list[i].same = lists[0][i]
			}
		}
		lists = lists[:1]
	}
	for i, list := range lists {
		for _, r := range list {
			if !same {
				r.Match.Listener = cv.c.Listeners[sockets[i].index].Name
			}
			cv.c.Routes = append(cv.c.Routes, r.Route)
			r.index = len(cv.c.Routes)
			if r.index > maxRoutes {
				return errRoutes
			}
			cv.r.Locate(r.path(), place(r.d.Pos))
		}
	}
	return nil
}

// parseRegex is pattern.ParseRegex for an expression that may occur again, for other
// listeners and locations.
func (cv *converter) parseRegex(expression string) (pattern.Regex, error) {
	if re, ok := cv.parsed[expression]; ok {
		return re, nil
	}
	re, err := pattern.ParseRegex(expression)
	if err == nil {
		cv.parsed[expression] = re
	}
	return re, err
}

// quotePath is a path as an expression for it.
func quotePath(s string) string { return regexp.QuoteMeta(s) }

func compile(expression string) (*regexp.Regexp, error) { return regexp.Compile(expression) }

// group is the number of the group of the location's expression with a name or number.
func (loc *location) group(name string) int {
	if loc == nil || loc.regex == "" || name == "" {
		return 0
	}
	if len(name) == 1 && name[0] >= '1' && name[0] <= '9' {
		return int(name[0] - '0')
	}
	if !strings.Contains(strings.ToLower(loc.regex), "<"+strings.ToLower(name)+">") {
		return 0
	}
	re, err := compile(loc.regex)
	if err != nil {
		return 0
	}
	return max(0, slices.IndexFunc(re.SubexpNames(), func(s string) bool { return strings.EqualFold(s, name) }))
}

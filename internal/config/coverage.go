package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// coverage finds routes that no request can reach. It has the earlier routes
// by host, so that most hosts wider than a route's are skipped at once.
//
// Routes by sni and alpn are apart from those for requests.
type coverage map[pattern.Host]map[condition]Path

// condition is the rest of a Match, for one kind of request. Of what is in more, it is
// only known whether it is the same.
type condition struct {
	path      pattern.Path
	websocket bool
	more      string

	opaque bool // more has a listener
	alpn   string
	client string
}

// add notes the route m, which has a path in the Config. It returns the path of
// an earlier route that takes requests m would match, and whether earlier routes
// take them all.
func (c coverage) add(m *Match, at Path) (earlier Path, covered bool) {
	if m.SNI != (pattern.Host{}) || m.ALPN != "" {
		return c.addOpaque(m, at)
	}
	covered = true
	more := m.more()
	for _, websocket := range []bool{true, false} {
		if m.WebSocket != nil && *m.WebSocket != websocket {
			continue
		}
		if by, ok := c.find(m, websocket, more); ok {
			earlier = by
			continue
		}
		covered = false
		if c[m.Host] == nil {
			c[m.Host] = make(map[condition]Path)
		}
		c[m.Host][condition{path: m.Path, websocket: websocket, more: more}] = at
	}
	return earlier, covered
}

// find looks up every condition at least as wide as m.
func (c coverage) find(m *Match, websocket bool, more string) (Path, bool) {
	for _, host := range m.Host.Wider() {
		routes := c[host]
		if routes == nil {
			continue
		}
		for path, ok := m.underPath(), true; ok; path, ok = path.Parent() {
			if at, ok := routes[condition{path: path, websocket: websocket}]; ok {
				return at, true
			}
		}
		if more == "" {
			continue
		}
		for path, ok := m.Path, true; ok; path, ok = path.Parent() {
			if at, ok := routes[condition{path: path, websocket: websocket, more: more}]; ok {
				return at, true
			}
		}
	}
	return "", false
}

// underPath is the longest prefix of whole segments that every path of m has.
func (m *Match) underPath() pattern.Path {
	if m.PathExact != (pattern.ExactPath{}) {
		return m.PathExact.Path()
	}
	if begin, err := pattern.ParseBeginPath(m.PathBegins); err == nil {
		return begin.Path()
	}
	return m.Path
}

// more is what m asks beyond host, path and websocket, in one form; "" is nothing.
func (m *Match) more() string {
	rest := *m
	rest.Host, rest.Path, rest.WebSocket = pattern.Host{}, pattern.Path{}, nil
	if reflect.ValueOf(rest).IsZero() {
		return ""
	}
	sorted := func(values Headers, normal func(string) string) []string {
		var all []string
		for _, v := range values {
			all = append(all, fmt.Sprintf("%q=%q", normal(v[0]), v[1]))
		}
		slices.Sort(all)
		return all
	}
	cert := ""
	if m.ClientCert != nil {
		c := *m.ClientCert
		if c.Verified != nil {
			cert = fmt.Sprint(*c.Verified)
		}
		c.Verified = nil
		cert += fmt.Sprintf("%q", []any{c.CN, c.DNS, c.URI, c.Issuer, c.Fingerprint})
	}
	var not []string
	for i := range m.Not {
		n := &m.Not[i]
		websocket := "any"
		if n.WebSocket != nil {
			websocket = fmt.Sprint(*n.WebSocket)
		}
		not = append(not, fmt.Sprintf("%q %q %s %s", n.Host, n.Path, websocket, n.more()))
	}
	return fmt.Sprintf("%q %q %q %q %q %q %q %q %v %s %q", m.Listener, m.Method, sorted(m.Header, strings.ToLower), sorted(m.Query, strings.Clone),
		m.HostRegex, m.PathExact, m.PathBegins, m.PathRegex, m.Client, cert, not)
}

// addOpaque is add for a route by sni and alpn.
func (c coverage) addOpaque(m *Match, at Path) (earlier Path, covered bool) {
	clients := ""
	if m.Client != nil {
		clients = fmt.Sprint(m.Client)
	}
	for _, host := range m.SNI.Wider() {
		for _, alpn := range []string{"", m.ALPN} {
			for _, listener := range []string{"", m.Listener} {
				for _, client := range []string{"", clients} {
					if by, ok := c[host][condition{opaque: true, alpn: alpn, more: listener, client: client}]; ok {
						return by, true
					}
				}
			}
		}
	}
	if c[m.SNI] == nil {
		c[m.SNI] = make(map[condition]Path)
	}
	c[m.SNI][condition{opaque: true, alpn: m.ALPN, more: m.Listener, client: clients}] = at
	return "", false
}

package config

import (
	"fmt"
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
		for path, ok := m.Path, true; ok; path, ok = path.Parent() {
			for _, more := range slices.Compact([]string{"", more}) {
				if at, ok := routes[condition{path: path, websocket: websocket, more: more}]; ok {
					return at, true
				}
			}
		}
	}
	return "", false
}

// more is what m asks beyond host, path and websocket, in one form; "" is nothing.
func (m *Match) more() string {
	if m.Listener == "" && m.Method == nil && m.Header == nil && m.Query == nil && m.ClientCert == nil {
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
	return fmt.Sprintf("%q %q %q %q %s", m.Listener, m.Method, sorted(m.Header, strings.ToLower), sorted(m.Query, strings.Clone), cert)
}

// addOpaque is add for a route by sni and alpn.
func (c coverage) addOpaque(m *Match, at Path) (earlier Path, covered bool) {
	for _, host := range m.SNI.Wider() {
		for _, alpn := range []string{"", m.ALPN} {
			for _, listener := range []string{"", m.Listener} {
				if by, ok := c[host][condition{opaque: true, alpn: alpn, more: listener}]; ok {
					return by, true
				}
			}
		}
	}
	if c[m.SNI] == nil {
		c[m.SNI] = make(map[condition]Path)
	}
	c[m.SNI][condition{opaque: true, alpn: m.ALPN, more: m.Listener}] = at
	return "", false
}

package config

import "github.com/holdfast-ws/holdfast/internal/wire/pattern"

// coverage finds routes that no request can reach. It has the earlier routes
// by host, so that most hosts wider than a route's are skipped at once.
type coverage map[pattern.Host]map[condition]Path

// condition is the rest of a Match, for one kind of request.
type condition struct {
	path      pattern.Path
	websocket bool
}

// add notes the route m, which has a path in the Config. It returns the path of
// an earlier route that takes requests m would match, and whether earlier routes
// take them all.
func (c coverage) add(m Match, at Path) (earlier Path, covered bool) {
	covered = true
	for _, websocket := range []bool{true, false} {
		if m.WebSocket != nil && *m.WebSocket != websocket {
			continue
		}
		if by, ok := c.find(m, websocket); ok {
			earlier = by
			continue
		}
		covered = false
		if c[m.Host] == nil {
			c[m.Host] = make(map[condition]Path)
		}
		c[m.Host][condition{m.Path, websocket}] = at
	}
	return earlier, covered
}

// find looks up every condition at least as wide as m.
func (c coverage) find(m Match, websocket bool) (Path, bool) {
	for _, host := range m.Host.Wider() {
		routes := c[host]
		if routes == nil {
			continue
		}
		for path, ok := m.Path, true; ok; path, ok = path.Parent() {
			if at, ok := routes[condition{path, websocket}]; ok {
				return at, true
			}
		}
	}
	return "", false
}

package haproxy

import (
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
)

// readOther reads sections that aren't proxies.
func (m *imp) readOther(s *syntax.Section) {
	var each func(l *syntax.Line)
	switch s.Kind {
	case "userlist":
		m.userlists = append(m.userlists, s)
		each = func(l *syntax.Line) { m.skip(l, "only http_auth uses it, which is refused where it is used") }
	case "peers":
		each = func(l *syntax.Line) {
			m.differ(l, "", "balancers don't share what they have learned: use a cookie, or balance by a hash")
		}
	case "resolvers":
		m.resolvers[s.Name] = s
		each = func(l *syntax.Line) {
			m.skip(l, "names are looked up at the servers of the system, and again before their time is up")
		}
	case "mailers", "ring", "log-forward", "traces", "log-profile":
		each = func(l *syntax.Line) { m.skip(l, "%s", ownLog) }
	case "cache":
		each = func(l *syntax.Line) { m.differ(l, "", "answers aren't cached") }
	case "http-errors":
		each = func(l *syntax.Line) { m.differ(l, "", "%s", ownErrors) }
	case "program":
		each = func(l *syntax.Line) {
			m.differ(l, "", "no programs are started: have the service manager do it")
		}
	case "fcgi-app":
		each = func(l *syntax.Line) { m.differ(l, "", "FastCGI isn't spoken here") }
	case "crt-store", "acme":
		each = func(l *syntax.Line) {
			m.refuse(l, "list certificates with bind ... crt FILE, or get them by acme")
		}
	}
	each(s.Head)
	for _, l := range s.Lines {
		each(l)
	}
}

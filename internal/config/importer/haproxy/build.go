package haproxy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
)

// build makes the configuration of what was read.
func (m *imp) build() {
	m.globals()
	for _, p := range m.order {
		m.readRules(p)
	}
	for _, p := range m.order {
		if p.front && !m.isStats(p) && p.one["disabled"] == nil {
			for _, l := range p.binds {
				m.readBind(p, l)
			}
		}
	}
	var all []*group
	for _, p := range m.order {
		switch {
		case p.one["disabled"] != nil:
			m.setAside(p, "the section is disabled")
		case m.isStats(p):
			m.setAside(p, "holdfast has an admin interface of its own: admin.address")
		case !p.front:
		case len(p.listeners) == 0:
			m.setAside(p, "it has no bind")
		case p.tcp():
			m.tcpFrontend(p)
		default:
			all = append(all, m.groups(p)...)
		}
	}
	m.addListeners()
	m.addRoutes(all)
	for _, p := range m.order {
		m.unused(p)
		if t := m.pools[p.name]; p.back && t != nil && t.pool != nil {
			m.config.Pools = append(m.config.Pools, *t.pool)
			m.statsLines(p)
		} else if p.front {
			m.statsLines(p)
		}
	}
	m.forAll()
	m.config.HTTP.Via = false
	m.config.Forwarded.XForwarded = false
	if len(all) > 0 {
		m.say("pages", "as with HAProxy, pages of any site may open WebSockets: to admit only your own, write origins: same_site at the listeners")
		m.say("requests", "those that servers could read in two ways (with //, %2f, ; or .. in the path) get 400, and so do those with fields that routes look at twice; hosts are compared without port and case, paths decoded; a header field that would be empty isn't sent; of clients, fields are removed that resemble X-Forwarded-For and those that are set; of several fields X-Forwarded-For of a client, the first is passed on")
		m.say("Holdfast-Session", "backends get it in addition with each WebSocket handshake, the id of the session")
		m.say("sessions", "both sides of a silent WebSocket are pinged, so that timeouts end it only if a side is dead: for the old behaviour write keepalive: {interval: 0}")
		m.say("errors", ownErrors)
	}
}

// globals sets what global says.
func (m *imp) globals() {
	for word, l := range m.global {
		switch word {
		case "maxconn":
			if n, err := strconv.Atoi(l.Arg(1)); err == nil && n > 0 {
				m.config.Limits.MaxSessions = min(n, 100_000_000)
				m.differ(l, "limits.max_sessions", "sessions above it are refused instead of waiting")
			}
		case "hard-stop-after":
			if d, err := parseTime(l.Arg(1), time.Millisecond); err == nil && d > 0 {
				m.config.Timeouts.Shutdown = min(d, maxTimeout)
				m.carry(l, "timeouts.shutdown")
			}
		case "default-path":
			switch m.carry(l, ""); l.Arg(1) {
			case "config":
				m.base = "."
				if i := strings.LastIndexByte(l.File, '/'); i >= 0 {
					m.base = l.File[:i]
				}
			case "parent":
				m.base = ".."
				if i := strings.LastIndexByte(l.File, '/'); i >= 0 {
					m.base = l.File[:i] + "/.."
				}
			case "origin":
				m.base = l.Arg(2)
			}
		case "ssl-default-server-options":
			m.skip(l, "TLS is 1.2 at least")
		}
	}
}

// isStats reports whether a proxy only shows statistics.
func (m *imp) isStats(p *proxy) bool {
	own := slices.ContainsFunc(p.rules, func(l *syntax.Line) bool { return slices.Contains(l.Args(0), "prometheus-exporter") })
	for _, l := range p.stats {
		own = own || l.File == p.head.File && l.Num > p.head.Num
	}
	return own && p.front && !p.serves() && p.one["default_backend"] == nil && len(p.uses) == 0
}

// setAside notes all lines of a section that does nothing.
func (m *imp) setAside(p *proxy, why string) {
	m.differ(p.head, "", "%s", why)
	m.carry(p.one["disabled"], "")
	for _, list := range [][]*syntax.Line{p.binds, p.serverLines, p.sticks, p.rules[p.inherits:], p.stats} {
		for _, l := range list {
			if l.Num >= p.head.Num && m.marks[l] == nil {
				m.skip(l, "%s", why)
			}
		}
	}
}

// statsLines notes the lines about statistics.
func (m *imp) statsLines(p *proxy) {
	for _, l := range p.stats {
		m.differ(l, "", "holdfast has an admin interface of its own: admin.address")
	}
}

// unused notes a backend that nothing leads to.
func (m *imp) unused(p *proxy) {
	if p.front || p.one["disabled"] != nil || m.pools[p.name] != nil {
		return
	}
	m.servers(p) // what is wrong with them
	m.skip(p.head, "no frontend leads to this backend")
	for _, list := range [][]*syntax.Line{p.serverLines, p.sticks, p.settings.checks, p.rules} {
		for _, l := range list {
			if m.marks[l] == nil {
				m.skip(l, "no frontend leads to this backend")
			}
		}
	}
}

func (m *imp) addListeners() {
	for _, p := range m.order {
		for _, n := range p.listeners {
			at := config.Path("listeners").Index(len(m.config.Listeners))
			m.config.Listeners = append(m.config.Listeners, n.config)
			m.locate(at, n.line)
			m.locate(at.Key("address"), n.line)
			m.carry(n.line, at)
		}
	}
}

// addRoutes adds the routes of all frontends. Every group ends with a route for all its
// requests, so that the last one needn't say which listeners it is for.
func (m *imp) addRoutes(all []*group) {
	if len(all) == 0 {
		return
	}
	last := 0
	for i, g := range all {
		if len(g.listeners)*len(g.routes) >= len(all[last].listeners)*len(all[last].routes) {
			last = i
		}
	}
	total := 0
	for _, g := range all {
		total += len(g.routes) * len(g.listeners)
	}
	m.config.Routes = slices.Grow(m.config.Routes, total)
	add := func(g *group, listener string) {
		for _, r := range g.routes {
			at := config.Path("routes").Index(len(m.config.Routes))
			own := r.Route
			own.Match.Listener = listener
			m.config.Routes = append(m.config.Routes, own)
			for i := range r.lines {
				m.carry(r.lines[i], at)
			}
			m.locate(at, r.by)
		}
	}
	for i, g := range all {
		if i == last {
			continue
		}
		for _, n := range g.listeners {
			add(g, n.config.Name)
		}
	}
	add(all[last], "")
	for _, g := range all {
		m.carry(g.fe.head, config.Path("listeners").Index(slices.IndexFunc(m.config.Listeners, func(l config.Listener) bool { return l.Name == g.at.config.Name })))
		m.carry(g.fe.one["mode"], "")
	}
	m.hoist()
}

// hoist moves what all routes have in common to where it holds for all.
func (m *imp) hoist() {
	c := &m.config
	var served []*config.Route
	for i := range c.Routes {
		if r := &c.Routes[i]; r.Pool != "" && !r.Opaque() {
			served = append(served, r)
		}
	}
	if len(served) == 0 {
		return
	}
	first := served[0]
	hoistHeaders := func(of func(*config.Route) *config.HeaderEdits, to *config.HeaderEdits) {
		for _, pair := range slices.Clone(of(first).Set) {
			if !slices.ContainsFunc(served, func(r *config.Route) bool { return !slices.Contains(of(r).Set, pair) }) {
				to.Set = append(to.Set, pair)
				for _, r := range served {
					of(r).Set = slices.DeleteFunc(slices.Clone(of(r).Set), func(o [2]string) bool { return o == pair })
				}
			}
		}
		for _, pair := range slices.Clone(of(first).Add) {
			if !slices.ContainsFunc(served, func(r *config.Route) bool { return !slices.Contains(of(r).Add, pair) }) {
				to.Add = append(to.Add, pair)
				for _, r := range served {
					of(r).Add = slices.DeleteFunc(slices.Clone(of(r).Add), func(o [2]string) bool { return o == pair })
				}
			}
		}
		for _, name := range slices.Clone(of(first).Remove) {
			if !slices.ContainsFunc(served, func(r *config.Route) bool { return !slices.Contains(of(r).Remove, name) }) {
				to.Remove = append(to.Remove, name)
				for _, r := range served {
					of(r).Remove = slices.DeleteFunc(slices.Clone(of(r).Remove), func(o string) bool { return o == name })
				}
			}
		}
	}
	hoistHeaders(func(r *config.Route) *config.HeaderEdits { return &r.RequestHeaders }, &c.RequestHeaders)
	hoistHeaders(func(r *config.Route) *config.HeaderEdits { return &r.ResponseHeaders }, &c.ResponseHeaders)
	for _, r := range served {
		for _, e := range []*config.HeaderEdits{&r.RequestHeaders, &r.ResponseHeaders} {
			if len(e.Set) == 0 {
				e.Set = nil
			}
			if len(e.Add) == 0 {
				e.Add = nil
			}
			if len(e.Remove) == 0 {
				e.Remove = nil
			}
		}
	}
	hoistTime(served, func(r *config.Route) **time.Duration { return &r.Timeouts.Connect }, &c.Timeouts.Connect)
	hoistTime(served, func(r *config.Route) **time.Duration { return &r.Timeouts.Idle }, &c.Timeouts.Idle)
	hoistTime(served, func(r *config.Route) **time.Duration { return &r.Timeouts.Response }, &c.HTTP.ResponseTimeout)
}

// hoistTime makes the most frequent value of routes that of all.
func hoistTime(served []*config.Route, of func(*config.Route) **time.Duration, to *time.Duration) {
	count := map[time.Duration]int{}
	best := *to
	for _, r := range served {
		d := *to
		if own := *of(r); own != nil {
			d = *own
		}
		if count[d]++; count[d] > count[best] {
			best = d
		}
	}
	before := *to
	*to = best
	for _, r := range served {
		switch at := of(r); {
		case *at != nil && **at == best:
			*at = nil
		case *at == nil && before != best:
			d := before
			*at = &d
		}
	}
}

// forAll sets what holds for all frontends.
func (m *imp) forAll() {
	c := &m.config
	longest := func(to *time.Duration, what string, path config.Path, names ...string) {
		var best time.Duration
		var lines []*syntax.Line
		for _, p := range m.order {
			if len(p.listeners) == 0 || p.tcp() {
				continue
			}
			if d, l := p.timeout(names...); l != nil {
				lines = append(lines, l)
				best = max(best, d)
			}
		}
		if best == 0 {
			return
		}
		*to = best
		for _, l := range lines {
			m.carry(l, path)
			if d, err := parseTime(l.Arg(len(l.Words)-1), time.Millisecond); err == nil && d != best && slices.Contains(names[:1], cmp.Or(l.Arg(1))) {
				m.differ(l, path, "%s is the longest of all frontends", what)
			}
		}
	}
	longest(&c.HTTP.IdleTimeout, "http.idle_timeout", "http.idle_timeout", "http-keep-alive", "http-request", "client")
	longest(&c.HTTP.BodyTimeout, "http.body_timeout", "http.body_timeout", "client")
	longest(&c.HTTP.SendTimeout, "http.send_timeout", "http.send_timeout", "client")
	longest(&c.Timeouts.Handshake, "timeouts.handshake", "timeouts.handshake", "http-request", "client")
	for i := range c.Routes {
		if d := &c.Routes[i].Timeouts.Handshake; *d != nil && **d == c.Timeouts.Handshake {
			*d = nil
		}
	}
}

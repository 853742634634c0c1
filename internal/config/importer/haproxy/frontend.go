package haproxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// use makes the routes of a use_backend.
func (x *expander) use(p *proxy, match config.Match, r *rule, s state) {
	s = s.with(r)
	s.by = r.line
	if strings.Contains(r.pool, "%") {
		x.dynamic(p, match, r, s)
		return
	}
	be := x.m.backends[r.pool]
	if be == nil {
		x.m.fail(r.line, "there is no backend %s%s", hint.Quote(r.pool), hint.DidYouMean(r.pool, x.m.backendNames()))
		return
	}
	x.pool(match, be, s)
}

func (m *imp) backendNames() (names []string) {
	for _, p := range m.order {
		if p.back {
			names = append(names, p.name)
		}
	}
	return names
}

// pool makes the routes to a backend.
func (x *expander) pool(match config.Match, be *proxy, s state) {
	if be.one["mode"] == nil {
		x.m.differ(be.head, "", "HAProxy takes it for mode tcp and refuses it here: it is taken for mode http, as its frontend")
		be.one["mode"] = x.fe.one["mode"]
	} else if be.tcp() {
		x.m.fail(be.head, "backend %s isn't in mode http, as frontend %s is", hint.Quote(be.name), hint.Quote(x.fe.name))
		return
	}
	// Rules about answers are those of the backend first.
	end := func(match config.Match, s state) {
		x.walk(x.fe, match, x.fe.responses, s, func(match config.Match, s state) { x.emit(match, be, s) })
	}
	if be == x.fe {
		end(match, s)
		return
	}
	last := end
	end = func(match config.Match, s state) { x.walk(be, match, be.responses, s, last) }
	x.walk(be, match, slices.Concat(be.connections, be.requests, be.redirects), s, end)
}

// emit adds the route to a pool.
func (x *expander) emit(match config.Match, be *proxy, s state) {
	t := x.m.target(be)
	if t.pool == nil {
		s.lines = append(slices.Clone(s.lines), be.head)
		x.answer(match, config.Respond{Status: 503}, s)
		return
	}
	s = s.clone()
	r := config.Route{Match: match, Pool: be.name, Limits: s.limits, ResponseHeaders: s.answer.headers()}
	r.Rewrite.Host, r.Rewrite.Path = s.host, s.path
	x.timeouts(be, &r, s)
	x.forwardFor(r, be, s)
}

// forwardFor adds the route with the field X-Forwarded-For as the options of frontend and
// backend say. The name is that of the backend, if it has the option. The field is left
// alone for addresses that either excepts, and if it is there if none of the two adds it
// always.
func (x *expander) forwardFor(r config.Route, be *proxy, s state) {
	if own := be.option("forwarded"); own != nil {
		x.m.config.Forwarded.Forwarded = true
		x.m.differ(own, "forwarded.forwarded", "the field has what holdfast puts there: for, proto and host")
	}
	with := func(r config.Route, s state) {
		r.RequestHeaders = s.request.headers()
		x.add(r, s)
	}
	name, always := "", false
	var except []netip.Prefix
	for _, l := range []*syntax.Line{x.fe.option("forwardfor"), be.option("forwardfor")} {
		if l == nil {
			continue
		}
		if !slices.Contains(s.lines, l) {
			s.lines = append(slices.Clone(s.lines), l)
		}
		name = "X-Forwarded-For"
		for i, word := range l.Args(0) {
			switch word {
			case "header":
				name = l.Arg(i + 1)
			case "except":
				n, ok := parseNetwork(l.Arg(i + 1))
				if !ok {
					x.m.fail(l, "%s isn't an address or a network", hint.Quote(l.Arg(i+1)))
					return
				}
				if !slices.Contains(except, n) {
					except = append(except, n)
				}
			}
		}
		always = always || !slices.Contains(l.Args(0), "if-none")
	}
	if name == "" {
		with(r, s)
		return
	}
	if e := s.request.changed(name); e != nil && !always && len(e.values) > 0 {
		with(r, s)
		return
	}
	if except != nil {
		from, _ := merge(r.Match, config.Match{Client: except})
		other := r
		other.Match = from
		with(other, s.clone())
	}
	if !always {
		there, _ := merge(r.Match, config.Match{Header: config.Headers{{name, "*"}}})
		other := r
		other.Match = there
		with(other, s.clone())
	}
	s.request.apply("add", name, "${client_ip}")
	with(r, s)
}

// passedFields are those that holdfast removes from requests of clients, and HAProxy
// passes on.
var passedFields = []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP", "Forwarded"}

func initial() state {
	s := state{timeouts: map[string]time.Duration{}}
	for _, name := range passedFields {
		s.request = append(s.request, edit{name: name, drop: true, passed: true, values: []string{"${header." + name + "}"}})
	}
	return s
}

// expand makes the routes of a frontend for one of its listeners.
func (m *imp) expand(p *proxy, at *listener) *expander {
	x := &expander{m: m, fe: p, at: at, seen: map[*cond]*verdict{}, asked: map[string]bool{}, added: map[string]bool{}}
	s := initial()
	if l := p.one["unique-id-header"]; l != nil && headeredit.Request.CheckName(l.Arg(1), headeredit.Sent{}) == nil {
		m.config.Forwarded.RequestID = true
		s.request.apply("set", l.Arg(1), "${request_id}")
		m.differ(l, "forwarded.request_id", "the ids are holdfast's own, and X-Request-ID has them, too")
	} else if l != nil {
		m.config.Forwarded.RequestID = true
		m.differ(l, "forwarded.request_id", "X-Request-ID has ids of holdfast's own")
	}
	rules := slices.Concat(p.connections, p.requests, p.redirects, p.uses)
	if l := p.one["monitor-uri"]; l != nil {
		if path, err := pattern.ParseExactPath(l.Arg(1)); err == nil {
			own := s.clone()
			own.lines, own.by = []*syntax.Line{l}, l
			x.answer(config.Match{PathExact: path}, config.Respond{Status: 200}, own)
			m.differ(l, "", "it holds with a query, too")
		} else {
			m.refuse(l, "%v", err)
		}
	}
	x.walk(p, config.Match{}, rules, s, func(match config.Match, s state) {
		be, l := p, p.head
		if d := p.one["default_backend"]; d != nil {
			if l = d; strings.Contains(d.Arg(1), "%") {
				m.refuse(d, "the name of the default backend is a fixed one")
				return
			}
			if be = m.backends[d.Arg(1)]; be == nil {
				m.fail(d, "there is no backend %s%s", hint.Quote(d.Arg(1)), hint.DidYouMean(d.Arg(1), m.backendNames()))
				return
			}
		}
		s.lines, s.by = append(slices.Clone(s.lines), l), l
		if be == p && (!p.back || !p.serves()) { // no backend at all
			x.answer(match, config.Respond{Status: 503}, s)
			return
		}
		x.pool(match, be, s)
	})
	return x
}

// serves reports whether a proxy has servers.
func (p *proxy) serves() bool { return len(p.serverLines) > 0 || p.one["dispatch"] != nil }

// facts is a text that two listeners share if what was asked is the same for both.
func (n *listener) facts(asked map[string]bool) string {
	s := ""
	if asked["tls"] {
		s += fmt.Sprint("tls ", n.tls, " ")
		if n.tls {
			s += n.config.TLS.ClientCA
		}
	}
	if asked["port"] {
		s += fmt.Sprint(" port ", n.port)
	}
	if asked["ip"] {
		s += fmt.Sprint(" ip ", n.ip)
	}
	return s
}

// group is listeners with the same routes.
type group struct {
	listeners []*listener
	*expander
}

// groups expands a frontend for its listeners.
func (m *imp) groups(p *proxy) (all []*group) {
next:
	for _, n := range p.listeners {
		for _, g := range all {
			if n.facts(g.asked) == g.at.facts(g.asked) {
				g.listeners = append(g.listeners, n)
				if n.tls && g.at.tls {
					n.config.TLS.ClientHeaders = g.at.config.TLS.ClientHeaders
				}
				continue next
			}
		}
		all = append(all, &group{[]*listener{n}, m.expand(p, n)})
	}
	return all
}

package haproxy

import (
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// tcpFrontend makes listeners of mode tcp or tls-passthrough.
func (m *imp) tcpFrontend(p *proxy) {
	if p.one["mode"] == nil {
		m.differ(p.head, "", "without mode http, what clients send is passed on as it is, as HAProxy does it: with mode http, holdfast sees the WebSockets, and can drain and move them")
	}
	for _, n := range p.listeners {
		x := &expander{m: m, fe: p, at: n, seen: map[*cond]*verdict{}, asked: map[string]bool{}}
		n.config.Mode = config.ModeTCP
		m.carry(p.one["mode"], "")
		m.carry(p.head, "")
		x.tcpGuards()
		x.tcpRoutes()
	}
}

// tcpGuards sets who may connect, by the rules that reject connections.
func (x *expander) tcpGuards() {
	c := &x.at.config
	ended := map[string]bool{} // groups in which everything else is let in
	for _, r := range x.fe.connections {
		if ended[r.group] {
			x.m.skip(r.line, "a rule before lets all connections in")
			continue
		}
		ms, err := x.holds(x.fe, r.cond)
		switch {
		case err != "":
		case len(ms) == 0:
			x.m.skip(r.line, "%s", neverHolds)
			continue
		case ms.isAll() && r.action == allow:
			x.m.carry(r.line, "")
			ended[r.group] = true
			continue
		case r.action == limit && ms.isAll() && r.limit.current:
			x.m.refuse(r.line, "connections without requests aren't limited by address")
			continue
		case r.action != respond && r.action != allow:
			err = "it needs mode http"
		case len(ms) != 1:
			err = "clients are admitted by their address only: see allow and deny of the listener"
		default:
			not := len(ms[0].Not) == 1 && onlyClient(ms[0].Not[0])
			switch plain := onlyClient(ms[0]); {
			case r.action == respond && plain && c.Allow == nil:
				c.Deny = append(c.Deny, ms[0].Client...)
			case r.action == respond && not && c.Allow == nil && len(ms[0].Client) == 0:
				c.Allow = ms[0].Not[0].Client
			case r.action == allow && x.opaque(ms[0]):
				// What is let in here isn't looked at by the rules behind.
			case r.action == allow && plain && x.lastReject(r):
				c.Allow = append(c.Allow, ms[0].Client...)
			default:
				err = "clients are admitted by networks that are allowed, and denied: see allow and deny of the listener"
			}
		}
		if err != "" {
			x.m.refuse(r.line, "%s", err)
			continue
		}
		x.m.carry(r.line, "")
		r.cond.acls(func(t *test) { x.m.carry(t.line, "") })
	}
}

// opaque reports whether a match is about the ClientHello alone.
func (x *expander) opaque(m config.Match) bool { return m.SNI != pattern.Host{} || m.ALPN != "" }

// lastReject reports whether nothing but a general reject follows a rule.
func (x *expander) lastReject(r *rule) bool {
	i := slices.Index(x.fe.connections, r)
	for _, o := range x.fe.connections[i+1:] {
		if o.group != r.group {
			break
		}
		ms, err := x.holds(x.fe, o.cond)
		if err != "" || o.action == respond && !ms.isAll() {
			return false
		}
		if o.action == respond {
			return true
		}
	}
	return false
}

func onlyClient(m config.Match) bool {
	return len(m.Client) > 0 && len(m.Not) == 0 && m.SNI == pattern.Host{} && m.ALPN == ""
}

// tcpRoutes sets where connections go.
func (x *expander) tcpRoutes() {
	p, n := x.fe, x.at
	type choice struct {
		match config.Match
		be    *proxy
		line  *syntax.Line
	}
	var choices []choice
	rest := p
	restLine := p.head
	if d := p.one["default_backend"]; d != nil {
		rest, restLine = x.m.backends[d.Arg(1)], d
		if rest == nil {
			x.m.fail(d, "there is no backend %s%s", hint.Quote(d.Arg(1)), hint.DidYouMean(d.Arg(1), x.m.backendNames()))
			return
		}
	} else if !p.serves() || !p.back {
		rest = nil
	}
	for _, r := range p.uses {
		ms, err := x.holds(p, r.cond)
		if err != "" {
			x.m.refuse(r.line, "%s", err)
			continue
		}
		be := x.m.backends[r.pool]
		if be == nil {
			if strings.Contains(r.pool, "%") {
				x.m.refuse(r.line, "with mode tcp, a backend's name is a fixed one")
			} else {
				x.m.fail(r.line, "there is no backend %s%s", hint.Quote(r.pool), hint.DidYouMean(r.pool, x.m.backendNames()))
			}
			continue
		}
		r.cond.acls(func(t *test) { x.m.carry(t.line, "") })
		if ms.isAll() {
			rest, restLine = be, r.line
			break
		}
		for _, m := range ms {
			if !x.opaque(m) || len(m.Not) > 0 {
				x.m.refuse(r.line, "with mode tcp, connections go by the name and protocol of the ClientHello: req.ssl_sni, req.ssl_alpn")
				break
			}
			choices = append(choices, choice{m, be, r.line})
		}
		x.m.carry(r.line, "")
	}
	passes := len(choices) > 0
	if passes {
		n.config.Mode = config.ModePassthrough
	}
	pool := func(be *proxy) string {
		if t := x.m.target(be); t.pool != nil {
			x.tcpTimeouts(be)
			return be.name
		}
		return ""
	}
	for _, c := range choices {
		name := pool(c.be)
		if name == "" {
			continue
		}
		c.match.Listener = n.config.Name
		at := config.Path("routes").Index(len(x.m.config.Routes))
		x.m.config.Routes = append(x.m.config.Routes, config.Route{Match: c.match, Pool: name})
		x.m.locate(at, c.line)
		x.m.carry(c.line, at)
	}
	if rest != nil {
		n.config.Pool = pool(rest)
		x.m.carry(restLine, "")
	}
	if n.config.Pool == "" && (!passes || rest != nil) {
		x.m.refuse(restLine, "connections of this frontend have no backend with servers")
	}
}

// tcpTimeouts sets the timeouts of connections without requests, which are those of all.
func (x *expander) tcpTimeouts(be *proxy) {
	c := &x.m.config.Timeouts
	if d, l := be.timeout("connect"); l != nil && d > 0 {
		c.Connect = d
		x.m.carry(l, "timeouts.connect")
	}
	server, l := be.timeout("server")
	x.m.carry(l, "timeouts.idle")
	c.Idle = x.idle(be, server)
}

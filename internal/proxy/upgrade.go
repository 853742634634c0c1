package proxy

import (
	"github.com/holdfast-ws/holdfast/internal/proxy/attempt"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/handshake"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// runUpgrade is the rest of run for an upgrade to something else than a WebSocket,
// which the route has named. What follows the backend's 101 is opaque bytes.
func (h *clientHandshake) runUpgrade() error {
	if err := directed(h.gen, &h.req.Meta, h.req.Head.Host); err != nil { // the connection is for another host
		return err
	}
	if err := h.follow(); err != nil { // what the route changes
		return err
	}
	if err := h.readBody(); err != nil { // handshake, with the client
		return err
	}
	if err := h.permit(); err != nil { // what the route asks of its requests
		return err
	}
	if err := h.reachBackend((*clientHandshake).exchange); err != nil { // balance, ratelimit, dial, handshake
		return err
	}
	return h.startSession() // relay, and closing at the session's end
}

// asksOtherUpgrade reports whether the request is for runUpgrade. If so, its route is
// chosen.
func (h *clientHandshake) asksOtherUpgrade() bool {
	if mayBeOther(h.gen, &h.req.Head) {
		h.rule = otherUpgrade(h.gen, &h.req)
	}
	return h.rule != nil
}

// isOtherUpgrade reports whether a request that has come on a connection with these
// facts is for runUpgrade.
func (p *Proxy) isOtherUpgrade(m *transport.Meta, r *httphead.Request) bool {
	g := p.generation.Load()
	return mayBeOther(g, r) && otherUpgrade(g, &attempt.Request{Meta: *m, Head: *r}) != nil
}

// mayBeOther reports false for nearly all requests for which otherUpgrade is nil.
func mayBeOther(g *generation.Generation, r *httphead.Request) bool {
	return g.OtherUpgrades && r.Fields.Count("upgrade") > 0 && !handshake.IsWebSocket(r)
}

// otherUpgrade returns the route of a request for an upgrade to something else than a
// WebSocket, and fills in its Upgrade. It is nil for any other request, also if the
// route doesn't name that upgrade: it is plain HTTP.
func otherUpgrade(g *generation.Generation, r *attempt.Request) *route.Rule {
	rule, err := g.Routes.MatchBytes(r.Head.Host, r.Head.Path, false, r)
	if err != nil || !handshake.CheckOther(&r.Head, g.PolicyOf(rule).Upgrades, &r.Upgrade) {
		return nil
	}
	return rule
}

// readBody reads the request's body, which is for the backend before it answers.
func (h *clientHandshake) readBody() error {
	return h.req.ReadBody(h.conn, h.req.Upgrade.BodyLength)
}

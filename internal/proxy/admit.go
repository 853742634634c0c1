package proxy

import (
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/access"
	"github.com/holdfast-ws/holdfast/internal/stage/overload"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// Whose lists of addresses they are, for the log.
const (
	ofListener = "the listener"
	ofRoute    = "the route"
)

// admitsPeer checks the other end of a connection by the addresses of its listener,
// before anything is read. Behind a proxy that is trusted, only the head says which
// client it is.
func admitsPeer(g *generation.Generation, m *transport.Meta) error {
	on := &g.ListenerOf(m).Addresses
	if on.IsZero() || g.Forwarded.TrustsPeer(m.Peer) {
		return nil
	}
	return on.Check(m.Peer.Addr(), ofListener)
}

// permitPeer refuses a connection that its listener doesn't admit. It counts as no
// handshake under way from then on, so that those that are refused, however many, don't
// keep others out.
func (h *clientHandshake) permitPeer() error {
	err := admitsPeer(h.gen, &h.req.Meta)
	if err != nil {
		h.ticket.Leave()
		h.ticket = overload.Ticket{}
	}
	return err
}

// directed refuses a request for another host than the one that its connection was made
// for.
func directed(g *generation.Generation, m *transport.Meta, host []byte) error {
	on := g.ListenerOf(m).Isolated
	if len(on) == 0 || m.TLS == nil {
		return nil
	}
	return on.Check(host, m.TLS.ServerName)
}

// admit checks the client's address and origin, and the subprotocols that it offers.
// Backends are told only of those that are spoken.
func (h *clientHandshake) admit() error {
	policy, on := h.gen.PolicyOf(h.rule), h.gen.ListenerOf(&h.req.Meta)
	if err := on.Addresses.Check(h.req.ClientIP(), ofListener); err != nil {
		return err
	}
	if err := policy.Addresses.Check(h.req.ClientIP(), ofRoute); err != nil {
		return err
	}
	origins := policy.Origins
	if origins == nil {
		origins = on.Origins
	}
	var host []byte
	if _, there := h.req.Head.Fields.Get("origin"); there {
		var room [httphead.MaxHostname + 2]byte
		host = httphead.AppendHostname(room[:0], h.gen.Forwarded.ClientHost(h.req.Head.Fields, h.req.Hop()))
	}
	if err := origins.Check(h.req.Head.Fields, host); err != nil {
		return err
	}
	h.req.Upgrade.Subprotocols = policy.Subprotocols
	return access.CheckSubprotocols(h.req.Head.Fields, policy.Subprotocols)
}

// admitPlain checks the client's address for a request of plain HTTP. Browsers let pages
// of other origins see an answer only if the backend says so, which is therefore its own
// business.
func admitPlain(s *plainRequest) error {
	if s.err != nil {
		return nil // refused all the same
	}
	on, policy := s.gen.ListenerOf(&s.meta), s.gen.PolicyOf(s.rule)
	if on.Addresses.IsZero() && policy.Addresses.IsZero() {
		return nil
	}
	client := s.parts().ClientIP()
	err := on.Addresses.Check(client, ofListener)
	if err == nil {
		err = policy.Addresses.Check(client, ofRoute)
	}
	if err != nil {
		refused := plainRefusal(err)
		refused.Pool = s.rule.Pool
		return refused
	}
	return nil
}

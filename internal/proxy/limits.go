package proxy

import (
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// enterListener counts the connection for its listener. A handshake that is refused has
// no ticket yet, so that it takes no other one's place.
func (h *clientHandshake) enterListener() error {
	on := h.req.Meta.Listener
	if on == nil || on.MaxSessions == 0 {
		return nil
	}
	err := h.hold.Listener(h.p.Limiter, on.Name, on.MaxSessions)
	if err != nil && h.p.server.CloseIdleOn(on.Name) {
		// A connection that waits for nothing has made room.
		err = h.hold.Listener(h.p.Limiter, on.Name, on.MaxSessions)
	}
	return err
}

// limitTLS refuses clients that make TLS handshakes for nothing.
func (h *clientHandshake) limitTLS() error {
	if err := h.p.Limiter.BeforeTLS(&h.gen.Common, limitedPeer(h.gen, h.req.Meta.Peer)); err != nil {
		return err
	}
	h.asked = false
	return nil
}

// countTLS counts a TLS handshake that was made for nothing.
func (h *clientHandshake) countTLS() {
	if !h.asked {
		h.p.Limiter.AfterTLS(&h.gen.Common, limitedPeer(h.gen, h.req.Meta.Peer))
	}
}

// limitClaim counts the handshake for the value of a claim in its token. A client without
// one has no such limit.
func (h *clientHandshake) limitClaim() error {
	policy := h.gen.PolicyOf(h.rule)
	most := policy.Limits.Claim
	if most.Max == 0 {
		return h.hold.Claim(h.p.Limiter, limit.Max{}, "")
	}
	value, ok := h.req.Claim(policy.LimitedClaim)
	if !ok {
		most = limit.Max{}
	}
	return h.hold.Claim(h.p.Limiter, most, value)
}

// limitedClient is the address by which a request is limited, once its head has come. A
// process at the other end of a unix socket has none.
func (h *clientHandshake) limitedClient() netip.Addr {
	if h.req.Client == hostport.UnixPeer && h.req.Meta.Peer == hostport.UnixPeer {
		return netip.Addr{}
	}
	return h.gen.LimitedAddress(h.req.ClientIP())
}

// limitedPeer is the address by which a connection from a peer is limited before its
// head has come.
func limitedPeer(g *generation.Generation, peer netip.AddrPort) netip.Addr {
	if peer == hostport.UnixPeer || g.Forwarded.TrustsPeer(peer) {
		return netip.Addr{} // a proxy's: only the head says whose connection it is
	}
	return g.LimitedAddress(peer.Addr())
}

// limitAddress counts the handshake for the address of its client.
func (h *clientHandshake) limitAddress() error {
	rules, client := &h.gen.PolicyOf(h.rule).Limits, h.limitedClient()
	if err := h.hold.Address(h.p.Limiter, rules, client); err != nil || h.req.Meta.Opaque() {
		return err
	}
	return h.hold.Request(h.p.Limiter, rules, client)
}

// limitAddress counts the request for the address of its client.
func (s *plainRequest) limitAddress(l *limit.Limiter) error {
	if s.err != nil {
		return nil // choosing a backend fails for the same reason
	}
	rules := &s.gen.PolicyOf(s.rule).Limits
	if rules.Requests.Max == 0 && rules.NewRequests.Every == 0 {
		return s.hold.Request(l, rules, netip.Addr{})
	}
	client := s.gen.Forwarded.ClientAddrOf(s.r.Header, s.meta.Peer)
	if client == hostport.UnixPeer {
		return s.hold.Request(l, rules, netip.Addr{})
	}
	if err := s.hold.Request(l, rules, s.gen.LimitedAddress(client.Addr())); err != nil {
		refused := plainRefusal(err)
		refused.Pool = s.rule.Pool
		return refused
	}
	return nil
}

// limitConnection counts a connection that is to be handed to net/http for the address of
// its other end. A connection of a proxy carries the requests of many clients.
func (h *clientHandshake) limitConnection() error {
	peer := h.req.Meta.Peer
	if peer == hostport.UnixPeer {
		return nil
	}
	most := h.gen.MaxConnections
	if !limitedPeer(h.gen, peer).IsValid() {
		most = 0
	}
	err := h.hold.Connection(h.p.Limiter, most, peer.Addr())
	if err != nil && h.p.server.CloseIdleOf(peer.Addr()) {
		// One that waits for nothing has made room.
		err = h.hold.Connection(h.p.Limiter, most, peer.Addr())
	}
	return err
}

// connectionEnded ends what limitConnection has counted.
func (p *Proxy) connectionEnded(peer netip.AddrPort) {
	if peer != hostport.UnixPeer {
		p.Limiter.ConnectionEnded(peer.Addr())
	}
}

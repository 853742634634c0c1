package proxy

import (
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
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
	if policy.Limits.Claim.Max == 0 {
		return nil
	}
	value, ok := h.req.Claim(policy.LimitedClaim)
	if !ok {
		return nil
	}
	return h.hold.Claim(h.p.Limiter, policy.Limits.Claim, value)
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
	return h.hold.Address(h.p.Limiter, &h.gen.PolicyOf(h.rule).Limits, h.limitedClient())
}

package generation

import (
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/access"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
)

// Policy is what a route asks of a request, and does to it, beyond choosing its
// pool. It is immutable. What must survive a reload, such as counts, is only
// referred to.
type Policy struct {
	// Auth says who may come; nil leaves that to the listener.
	Auth *auth.Policy
	Access
	// Subprotocols are those that clients may offer; nil means all.
	Subprotocols []string
	// Limits bound the sessions of one client.
	Limits limit.Rules
	// MaxBody bounds the body of a request of plain HTTP, in bytes; 0 is no bound.
	MaxBody int64
	// LimitedClaim is the claim that Limits.Claim is for.
	LimitedClaim string
	// Split divides the requests among pools; nil for a route that has one pool or none.
	Split *Split
	// Answer is that of a route without a pool; nil for one that has a pool.
	Answer *Answer
	// Forward is what the route changes; nil is nothing.
	Forward *Forward
	// Upgrades are the protocols other than WebSocket that a request may ask for, as
	// in its Upgrade field; the case of letters doesn't matter.
	Upgrades []string
	// Session bounds a live session; nil means Generation.Limits.
	Session *relay.Limits
}

// ListenerPolicy is what a listener asks of everything that comes on it.
type ListenerPolicy struct {
	Access // its Origins are for routes without their own
	// Auth is for routes without their own; nil is everyone.
	Auth *auth.Policy
	// Silent means that connections that are passed through get no alert of TLS.
	Silent bool
	// Isolated are hosts that are only asked for by connections of their own.
	Isolated route.Isolated
}

// Access says who is admitted.
type Access struct {
	Addresses access.Addresses
	Origins   *access.Origins // nil means that nothing is said about them
}

// PolicyOf returns the policy of a rule of g.Routes.
func (g *Generation) PolicyOf(r *route.Rule) *Policy { return &g.Policies[r.Index] }

// SessionLimits are those of the sessions of a rule.
func (g *Generation) SessionLimits(r *route.Rule) *relay.Limits {
	if own := g.PolicyOf(r).Session; own != nil {
		return own
	}
	return &g.Limits
}

// LimitedAddress is the address by which a client's handshakes and sessions are
// limited: a, or none if it is in g.Exempt.
func (g *Generation) LimitedAddress(a netip.Addr) netip.Addr {
	for _, p := range g.Exempt {
		if p.Contains(a) {
			return netip.Addr{}
		}
	}
	return a
}

// ListenerOf returns the policy of the listener of a connection. If g doesn't know the
// listener, that is the policy with which it accepted the connection: the listener is
// gone, or a reload has just opened it and is yet to swap generations.
func (g *Generation) ListenerOf(m *transport.Meta) *ListenerPolicy {
	if m.Listener == nil {
		return &unlimited
	}
	if l := g.Listeners[m.Listener.Name]; l != nil {
		return l
	}
	if l, ok := m.Listener.Policy.(*ListenerPolicy); ok {
		return l
	}
	return &unlimited
}

var unlimited ListenerPolicy

// AuthOf returns who may come by a rule of g.Routes on the listener of a connection; nil
// is everyone.
func (g *Generation) AuthOf(r *route.Rule, m *transport.Meta) *auth.Policy {
	p := g.PolicyOf(r).Auth
	if p == nil {
		p = g.ListenerOf(m).Auth
	}
	if p == nil || p.JWT == nil && p.Request == nil {
		return nil
	}
	return p
}

// IsReserved reports whether a client may not send a field of that name, since backends
// take it for something that the balancer says about clients.
func (g *Generation) IsReserved(name []byte) bool {
	return g.ClientCert.IsReserved(name) || g.Reserved.Has(name)
}

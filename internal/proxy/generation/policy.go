package generation

import (
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
)

// Policy is what a route asks of a request, and does to it, beyond choosing its
// pool. It is immutable. What must survive a reload, such as counts, is only
// referred to.
type Policy struct {
	// Limits bound the sessions of one client.
	Limits limit.Rules
	// Forward is what the route changes; nil is nothing.
	Forward *Forward
}

// PolicyOf returns the policy of a rule of g.Routes.
func (g *Generation) PolicyOf(r *route.Rule) *Policy { return &g.Policies[r.Index] }

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

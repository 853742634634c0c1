package generation

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/wire/affinity"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Split divides the requests of a route among its parts. Which part a request gets is
// chosen once, when it is known who the client is; then it goes on as if that part had
// been its route.
type Split struct {
	Parts []SplitPart
	total uint64
	// turn says which request gets which part, see next.
	turn atomic.Uint64
}

// SplitPart is one of the parts of a Split. Its Rule has a policy of its own in
// Generation.Policies, and is not in the table of routes. It has no pool if its policy has
// an answer.
type SplitPart struct {
	Rule   *route.Rule
	Weight int
}

// NewSplit makes the Split of parts, at least one of which has a weight.
func NewSplit(parts []SplitPart) *Split {
	s := &Split{Parts: parts}
	for _, p := range parts {
		s.total += uint64(p.Weight)
	}
	s.turn.Store(rand.Uint64())
	return s
}

// Choose returns the rule by which a request goes on whose route is rule: that of a part
// if the route has a Split, else rule itself. Affinity comes first; then the key by which
// a backend is chosen, so that a key has one pool; then the weights.
func (g *Generation) Choose(rule *route.Rule, r requestkey.Request) *route.Rule {
	s := g.PolicyOf(rule).Split
	if s == nil {
		return rule
	}
	for _, p := range s.Parts {
		if pool := g.Pools[p.Rule.Pool]; pool != nil && pool.knows(r) {
			return p.Rule
		}
	}
	for _, p := range s.Parts {
		if pool := g.Pools[p.Rule.Pool]; pool != nil && p.Weight > 0 {
			if key, ok := pool.keyOf(r); ok {
				return s.at(mix(key))
			}
		}
	}
	return s.at(s.next())
}

// PartOf returns the rule of the part of rule's Split that has a pool; rule itself if there
// is none.
func (g *Generation) PartOf(rule *route.Rule, pool string) *route.Rule {
	if s := g.PolicyOf(rule).Split; s != nil && pool != "" {
		for _, p := range s.Parts {
			if p.Rule.Pool == pool {
				return p.Rule
			}
		}
	}
	return rule
}

// PartWith is PartOf for a pool that has one of the backends.
func (g *Generation) PartWith(rule *route.Rule, backends []uint32) *route.Rule {
	if s := g.PolicyOf(rule).Split; s != nil && len(backends) > 0 {
		for _, p := range s.Parts {
			if pool := g.Pools[p.Rule.Pool]; pool != nil && slices.ContainsFunc(backends, func(id uint32) bool { return pool.Member(id) >= 0 }) {
				return p.Rule
			}
		}
	}
	return rule
}

// next is a point for the next request. The points of consecutive requests, and also those
// of every second one and so on, are spread as evenly as can be: they are multiples of the
// golden ratio. So a pool with one tenth of the weight gets a request of about every ten,
// and not by chance none for a while.
func (s *Split) next() uint64 { return s.turn.Add(0x9e3779b97f4a7c15) }

// at returns the rule of the part in whose share a point is, of all that 64 bits can be.
func (s *Split) at(point uint64) *route.Rule {
	n, _ := bits.Mul64(point, s.total)
	for _, p := range s.Parts {
		if n < uint64(p.Weight) {
			return p.Rule
		}
		n -= uint64(p.Weight)
	}
	return s.Parts[len(s.Parts)-1].Rule // not reached: n is below the total
}

// mix makes a point of a key, so that a key's pool says nothing about where it is in that
// pool: without it, a pool would get only keys of some of its backends.
func mix(key uint64) uint64 {
	key ^= 0x5851f42d4c957f2d
	key = (key ^ key>>30) * 0xbf58476d1ce4e5b9
	key = (key ^ key>>27) * 0x94d049bb133111eb
	return key ^ key>>31
}

// knows reports whether the client of r belongs to a member of p already.
func (p *Pool) knows(r requestkey.Request) bool {
	switch {
	case p.Cookie != nil:
		_, verdict := p.Cookie.Read(r)
		return verdict == affinity.Member
	case p.Learned != nil:
		return p.Learned.knows(r)
	}
	return false
}

// keyOf is the key of r by which a backend of p is chosen, if there is one.
func (p *Pool) keyOf(r requestkey.Request) (key uint64, ok bool) {
	switch {
	case p.Token != nil:
		return requestkey.First(p.Token, r)
	case p.Key != nil && p.Cookie == nil && p.Learned == nil:
		return requestkey.Hash(p.Key, r)
	}
	return 0, false
}

package balance

import (
	"fmt"
	"math"
)

// hash takes the candidate with the highest score for the key, see rendezvous.
// Scores use the configured weights: if slow start and reported load changed
// them, each of their steps would move keys.
//
// With a bound, members that would exceed it are left out. A member's bound is
// its part, by its current weight, of the candidates' sessions including the
// new one, times the factor, rounded up. A key with more clients than that,
// such as one NAT's address, spills over to the next member in its order. Some
// member is always below its bound, since the bounds sum to more than there are
// sessions.
//
// Without a key it is least_conn.
type hash struct {
	bound      uint64 // in thousandths; a float's 1.05 would be slightly more than that
	keyless    *leastConn
	belowBound []uint64 // scratch: the weights of the members below their bounds
}

func newHash(r randomSource, bound float64, n int) (*hash, error) {
	if bound != 0 && !(bound >= 1) {
		return nil, fmt.Errorf("balance: the bound of hash is %v, want 1 or more, or 0 for none", bound)
	}
	return &hash{bound: uint64(math.Round(bound * 1000)), keyless: newLeastConn(r, n), belowBound: make([]uint64, n)}, nil
}

func (h *hash) pick(p *picker, q *Query) int {
	if !q.Keyed {
		return h.keyless.pick(p, q)
	}
	if h.bound == 0 {
		return p.rendezvous.first(q.Key, p.weights)
	}
	weight, sessions := p.totals()
	most := h.bound * (sessions + 1)
	for i, w := range p.weights {
		h.belowBound[i] = 0
		// sessions+1 <= ceil(most*w/weight), without dividing
		if p.sessions[i]*weight*1000 < most*w {
			h.belowBound[i] = w
		}
	}
	return p.rendezvous.first(q.Key, h.belowBound)
}

func (h *hash) picked(p *picker, q *Query, i int) {
	if !q.Keyed {
		h.keyless.picked(p, q, i)
	}
}

package balance

import "math"

// hash takes the candidate that the key scores highest with, whatever the
// others are: see rendezvous. By its configured weight, that is: were it by
// what slow start and reported load leave of it, each step of theirs would
// move keys.
//
// With a bound, members that would pass it are left out: bound times their
// part, by their present weight, of the sessions that the candidates have
// together, the new one included, rounded up. Then a key with more clients
// than a backend's part, as all those behind one NAT have, runs over to the
// next in its order. One below its bound always exists, since the bounds sum
// to more than there are sessions.
//
// Without a key it is least_conn.
type hash struct {
	bound   uint64 // in thousandths, lest 1.05 is a little more than it says
	keyless *leastConn
	under   []uint64 // scratch: the weights of those below their bounds
}

func newHash(by chance, bound float64, n int) *hash {
	return &hash{bound: uint64(math.Round(bound * 1000)), keyless: newLeastConn(by, n), under: make([]uint64, n)}
}

func (h *hash) choose(p *picker, q *Query) int {
	if !q.Keyed {
		return h.keyless.choose(p, q)
	}
	if h.bound == 0 {
		return p.rendezvous.first(q.Key, p.weights)
	}
	weight, sessions := p.totals()
	most := h.bound * (sessions + 1)
	for i, w := range p.weights {
		h.under[i] = 0
		// sessions+1 <= ceil(most*w/weight), without dividing
		if p.sessions[i]*weight*1000 < most*w {
			h.under[i] = w
		}
	}
	return p.rendezvous.first(q.Key, h.under)
}

func (h *hash) taken(p *picker, q *Query, i int) {
	if !q.Keyed {
		h.keyless.taken(p, q, i)
	}
}

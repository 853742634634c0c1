package balance

// burst is how many sessions a member may lack without being held back, and
// may get at once.
const burst = 16

// leastConn takes the member with the least (sessions+1)/weight; ties go
// round.
//
// That rule alone would send every client to a member that has just joined, or
// that refuses all it gets, until it has as many sessions as the others. So a
// member that lacks more than burst sessions gets at most min(2f, (1+f)/2) of
// the choices, where f is its part by weight: twice its part, or in a small
// pool halfway between its part and all. Credits count this: each choice gives
// every candidate that much credit, and costs the chosen one 1.
type leastConn struct {
	start   int // the member to look at first
	credits []float64
}

// newLeastConn starts at a random member: otherwise each reload would favour
// the first. It starts without credits: otherwise a newcomer would get another
// burst at each change of the pool.
func newLeastConn(r randomSource, n int) *leastConn {
	return &leastConn{start: int(r.uintN(uint64(max(n, 1)))), credits: make([]float64, n)}
}

func (l *leastConn) pick(p *picker, _ *Query) int {
	weight, sessions := p.totals()
	each := float64(sessions) / float64(weight)
	best, least := -1, -1 // among those not held back, and among all
	for n := range p.members {
		i := l.start + n
		if i >= len(p.members) {
			i -= len(p.members)
		}
		w := p.weights[i]
		if w == 0 {
			continue
		}
		if least < 0 || p.lessLoaded(i, least) {
			least = i
		}
		heldBack := l.credits[i] < 1 && float64(p.sessions[i])+burst < each*float64(w)
		if !heldBack && (best < 0 || p.lessLoaded(i, best)) {
			best = i
		}
	}
	if best < 0 {
		return least
	}
	return best
}

func (l *leastConn) picked(p *picker, _ *Query, i int) {
	l.start = (i + 1) % len(p.members)
	weight, _ := p.totals()
	per := 1 / float64(weight)
	for j, w := range p.weights {
		if w > 0 {
			f := float64(w) * per
			l.credits[j] = min(l.credits[j]+min(2*f, (1+f)/2), burst)
		}
	}
	l.credits[i] = max(l.credits[i]-1, 0)
}

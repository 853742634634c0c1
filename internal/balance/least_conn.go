package balance

// burst is how many sessions a member of least_conn may be short of its part
// without being held back, and may get at once.
const burst = 16

// leastConn takes the member with the least (sessions+1)/weight; ties go
// round.
//
// By that alone a member that has just joined, or one that refuses all it
// gets, would be sent every client there is until it has as many sessions as
// the others. So one that is short of its part of the sessions by more than
// burst gets at most min(2f, (1+f)/2) of the choices, f being its part by
// weight: twice its part, or, of a small pool, halfway from its part to all.
// That is counted in credits: each choice gives every candidate so much, and
// costs the one that is taken 1.
type leastConn struct {
	next    int // where to begin looking
	credits []float64
}

// newLeastConn begins anywhere, or each reload would favour the first member.
// It begins without credits, or a pool whose members change often would give a
// newcomer a burst each time.
func newLeastConn(by chance, n int) *leastConn {
	return &leastConn{next: int(by.below(uint64(max(n, 1)))), credits: make([]float64, n)}
}

func (l *leastConn) choose(p *picker, _ *Query) int {
	weight, sessions := p.totals()
	each := float64(sessions) / float64(weight)
	best, least := -1, -1 // of those not held back, and of all
	for n := range p.members {
		i := l.next + n
		if i >= len(p.members) {
			i -= len(p.members)
		}
		w := p.weights[i]
		if w == 0 {
			continue
		}
		if least < 0 || p.lighter(i, least) {
			least = i
		}
		heldBack := l.credits[i] < 1 && float64(p.sessions[i])+burst < each*float64(w)
		if !heldBack && (best < 0 || p.lighter(i, best)) {
			best = i
		}
	}
	if best < 0 {
		return least
	}
	return best
}

func (l *leastConn) taken(p *picker, _ *Query, i int) {
	l.next = (i + 1) % len(p.members)
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

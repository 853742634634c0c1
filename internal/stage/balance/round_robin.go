package balance

// roundRobin is smooth weighted round robin, as in nginx: in each turn every
// member's credit grows by its weight, and the member with the most credit is
// taken and pays the sum of the weights. Over a cycle as long as that sum, each
// member is taken exactly as often as its weight says, spread out rather than
// in runs.
type roundRobin struct {
	start  int // the member that wins the first tie
	credit []int64
}

// newRoundRobin starts at a random member: otherwise each reload would favour
// the first.
func newRoundRobin(r randomSource, n int) *roundRobin {
	return &roundRobin{start: int(r.uintN(uint64(max(n, 1)))), credit: make([]int64, n)}
}

func (r *roundRobin) pick(p *picker, _ *Query) int {
	best, most := -1, int64(0)
	for n := range p.members {
		i := r.start + n
		if i >= len(p.members) {
			i -= len(p.members)
		}
		w := int64(p.weights[i])
		if w == 0 {
			continue
		}
		if credit := r.credit[i] + w; best < 0 || credit > most {
			best, most = i, credit
		}
	}
	return best
}

// picked settles the turn. A member that was away keeps the credit it left
// with. If others have left since, that may exceed one cycle, in which the
// member would get everything or nothing. So there are bounds, which are never
// reached while the weights stay the same.
func (r *roundRobin) picked(p *picker, _ *Query, i int) {
	weight, _ := p.totals()
	total := int64(weight)
	for j, w := range p.weights {
		if w > 0 {
			r.credit[j] = min(max(r.credit[j], -total), total) + int64(w)
		}
	}
	r.credit[i] -= total
}

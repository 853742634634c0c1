package balance

// roundRobin is smooth weighted round robin, as nginx has it: each turn every
// member's credit grows by its weight, the highest is taken and pays for all.
// Over a cycle as long as the sum of the weights each member comes exactly as
// often as it weighs, spread out and not in runs.
type roundRobin struct {
	start  int // who wins the first tie
	credit []int64
}

// newRoundRobin breaks ties from anywhere on, or each reload would favour the
// first member.
func newRoundRobin(by chance, n int) *roundRobin {
	return &roundRobin{start: int(by.below(uint64(max(n, 1)))), credit: make([]int64, n)}
}

func (r *roundRobin) choose(p *picker, _ *Query) int {
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

// taken settles the turn. A member that was away comes back with the credit it
// left with; where others have left since, that may be more than a cycle of
// today, in which it would get all or nothing. Hence the bounds, which nobody
// reaches while the weights stay as they are.
func (r *roundRobin) taken(p *picker, _ *Query, i int) {
	weight, _ := p.totals()
	total := int64(weight)
	for j, w := range p.weights {
		if w > 0 {
			r.credit[j] = min(max(r.credit[j], -total), total) + int64(w)
		}
	}
	r.credit[i] -= total
}

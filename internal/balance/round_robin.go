package balance

import (
	"math/rand/v2"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/pool"
)

// roundRobin is smooth weighted round robin, as nginx has it: each turn every
// member's credit grows by its weight, the highest is taken and pays for all.
// Over a cycle as long as the sum of the weights each member comes exactly as
// often as it weighs, spread out and not in runs.
type roundRobin struct {
	members []pool.Member
	start   int // who wins the first tie

	mu     sync.Mutex
	credit []int // by member; they sum to 0 as long as the same ones are up
}

// newRoundRobin breaks ties from anywhere on, or each reload would favour the
// first member.
func newRoundRobin(members []pool.Member) *roundRobin {
	return &roundRobin{
		members: members,
		start:   rand.IntN(max(len(members), 1)),
		credit:  make([]int, len(members)),
	}
}

func (p *roundRobin) Take(tried Tried) (Choice, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	best, total := -1, 0
	for n := range p.members {
		i := p.start + n
		if i >= len(p.members) {
			i -= len(p.members)
		}
		m := &p.members[i]
		if tried.Has(i) || m.Backend.Fitness() != pool.Fit {
			continue
		}
		p.credit[i] += m.Weight
		total += m.Weight
		if best < 0 || p.credit[i] > p.credit[best] {
			best = i
		}
	}
	if best < 0 {
		return Choice{}, false
	}
	p.credit[best] -= total
	return lease(p.members, best)
}

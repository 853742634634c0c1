package balance

import (
	"math/rand/v2"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/pool"
)

// leastConn takes the member that has the fewest sessions for its weight once
// the new one is counted: the least (sessions+1)/weight. Counting the new one
// sends the first session to the heaviest and not to whoever is first; with
// equal weights it is the plain least. Ties go round.
type leastConn struct {
	members []pool.Member

	mu   sync.Mutex // one choice and its lease at a time
	next int        // where to begin looking
}

// newLeastConn begins anywhere, or each reload would favour the first member.
func newLeastConn(members []pool.Member) *leastConn {
	return &leastConn{members: members, next: rand.IntN(max(len(members), 1))}
}

func (p *leastConn) Take(tried Tried) (Choice, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	best := -1
	var bestLoad, bestWeight uint64
	for n := range p.members {
		i := p.next + n
		if i >= len(p.members) {
			i -= len(p.members)
		}
		m := &p.members[i]
		if tried.Has(i) || m.Backend.Fitness() != pool.Fit {
			continue
		}
		load, weight := uint64(m.Backend.Sessions())+1, uint64(m.Weight)
		// load/weight < bestLoad/bestWeight, without dividing
		if best < 0 || load*bestWeight < bestLoad*weight {
			best, bestLoad, bestWeight = i, load, weight
		}
	}
	if best < 0 {
		return Choice{}, false
	}
	p.next = (best + 1) % len(p.members)
	return lease(p.members, best)
}

// lease is the last step of every Take, done under the picker's mutex.
func lease(members []pool.Member, i int) (Choice, bool) {
	b := members[i].Backend
	addr, ok := b.Addr()
	if !ok {
		return Choice{}, false
	}
	if !b.TryAcquire() {
		return Choice{}, false
	}
	return Choice{Backend: b, Index: i, Addr: addr}, true
}

package balance

import (
	"slices"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// picker implements what all algorithms share: which members may be taken, and
// the lease.
type picker struct {
	algorithm  algorithm
	minHealthy int
	// keepDraining is Options.KeepDraining.
	keepDraining bool
	rendezvous   rendezvous
	hasBackups   bool
	primaries    []uint64 // 1 for each member that is no backup; nil without backups

	mu     sync.Mutex // held for one choice with its lease; guards the following and algorithm
	random randomSource
	candidates
	steerNext  int // see SteerNext
	capacities []pool.Capacity
}

// algorithm chooses among candidates. It is called under the picker's mutex.
type algorithm interface {
	// pick returns the best candidate, or -1 if there is none.
	pick(p *picker, q *Query) int
	// picked is called once the candidate that pick returned last was leased.
	picked(p *picker, q *Query, i int)
}

// candidates are the members that may be taken, and their load, for the choice
// in progress. The slices are indexed by member.
type candidates struct {
	members []pool.Member // never changes
	// weights are Weight × Share, and 0 for members that must not be taken.
	weights  []uint64
	sessions []uint64 // undefined where the weight is 0
}

func newPicker(o Options, members []pool.Member) *picker {
	members = slices.Clone(members)
	p := &picker{
		minHealthy:   o.MinHealthy,
		keepDraining: o.KeepDraining,
		random:       randomSource{o.Rand},
		rendezvous:   newRendezvous(members),
		candidates:   candidates{members, make([]uint64, len(members)), make([]uint64, len(members))},
		capacities:   make([]pool.Capacity, len(members)),
	}
	p.findBackups()
	return p
}

func (p *picker) Members() []pool.Member { return p.members }

func (p *picker) Owner(key uint64) int { return p.rendezvous.first(key, p.primaries) }

func (p *picker) Take(q *Query) (Choice, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.steerNext > 0 && q.Session && !q.Keyed {
		switch c, err := p.takeUnderloaded(q); err {
		case nil:
			p.steerNext--
			return c, nil
		case ErrBalanced:
			p.steerNext = 0
		}
	}
	if err := p.collectCandidates(q); err != nil {
		return Choice{}, err
	}
	for none, again := ErrFull, p.hasBackups; ; {
		i := p.algorithm.pick(p, q)
		if i < 0 && again && none == ErrFull && p.collectCandidates(q) == nil {
			again = false // others were faster: now it is the backups' turn
			continue
		}
		if i < 0 {
			return Choice{}, none
		}
		c, ok, noToken := p.leaseCandidate(i, q)
		if ok {
			p.algorithm.picked(p, q, i)
			return c, nil
		}
		if noToken {
			none = ErrRateLimited
		}
	}
}

func (p *picker) TakeBelowFairShare(q *Query) (Choice, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeUnderloaded(q)
}

func (p *picker) SteerNext(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steerNext += n
}

// takeUnderloaded is TakeBelowFairShare under mu. Algorithms are not notified:
// these choices don't count as a member's turn.
func (p *picker) takeUnderloaded(q *Query) (Choice, error) {
	for none := p.collectUnderloaded(q); ; {
		i := -1
		if q.Keyed {
			i = p.rendezvous.first(q.Key, p.weights)
		} else {
			for j, w := range p.weights {
				if w > 0 && (i < 0 || p.lessLoaded(j, i)) {
					i = j
				}
			}
		}
		if i < 0 {
			return Choice{}, none
		}
		c, ok, noToken := p.leaseCandidate(i, q)
		if ok {
			return c, nil
		}
		if noToken {
			none = ErrRateLimited
		}
	}
}

// leaseCandidate takes the lease of the i-th member, and a token if q has rate limits.
// If another caller was faster, the member is no longer a candidate; noToken reports
// that only the token was missing.
func (p *picker) leaseCandidate(i int, q *Query) (c Choice, ok, noToken bool) {
	c, ok = lease(p.members, i, q.Lost)
	if ok && q.RateLimits != nil && !q.RateLimits.TryTake(i) {
		c.Backend.Release()
		ok, noToken = false, true
	}
	if !ok {
		p.weights[i] = 0
	}
	return c, ok, noToken
}

// collectUnderloaded makes candidates of the available members that have fewer
// sessions than their fair share and that q allows. It returns the error for
// when there are none.
func (p *picker) collectUnderloaded(q *Query) (none error) {
	total := 0
	for i := range p.members {
		m := &p.members[i]
		p.weights[i], p.capacities[i] = 0, pool.Capacity{}
		if p.isBackup(i) || m.Backend.Availability() != pool.Available {
			continue // a backup has no share
		}
		p.weights[i] = uint64(m.Weight) * uint64(m.Backend.Share())
		p.sessions[i] = uint64(m.Backend.Sessions())
		p.capacities[i] = pool.Capacity{Weight: p.weights[i], Limit: m.Backend.SessionLimit()}
		total += int(p.sessions[i])
	}
	none = ErrBalanced
	level := pool.FairLevel(p.capacities, total)
	for i := range p.members {
		switch {
		case q.Tried.Has(i), float64(p.sessions[i]) >= p.capacities[i].FairShare(level):
			p.weights[i] = 0
		case q.RateLimits != nil && !q.RateLimits.CanTake(i):
			p.weights[i], none = 0, ErrRateLimited
		}
	}
	return none
}

func (p *picker) TakeMember(i int) (Choice, bool) {
	if i < 0 || i >= len(p.members) {
		return Choice{}, false
	}
	// Usually there is no need to look at the others.
	b := p.members[i].Backend
	if f := b.Availability(); f != pool.Available && f > p.worstAcceptable(i) && !(p.keepDraining && b.Listed() == pool.ListedReady && b.KeepsClients()) {
		return Choice{}, false
	}
	return lease(p.members, i, nil)
}

func lease(members []pool.Member, i int, own *pool.Backend) (Choice, bool) {
	b := members[i].Backend
	addr, ok := b.Addr()
	switch {
	case !ok:
		return Choice{}, false
	case b == own:
		b.AcquireReplacement()
	case !b.TryAcquire():
		return Choice{}, false
	}
	return Choice{Backend: b, Index: i, Addr: addr}, true
}

// totals sums the candidates' weights and sessions.
func (c *candidates) totals() (weight, sessions uint64) {
	for i, w := range c.weights {
		if w > 0 {
			weight += w
			sessions += c.sessions[i]
		}
	}
	return weight, sessions
}

// lessLoaded reports whether candidate i would be less loaded than j with one
// more session: (sessions+1)/weight, without dividing. Counting the new session
// sends the first one to the heaviest member; with equal weights the result is
// the same as without.
func (c *candidates) lessLoaded(i, j int) bool {
	return (c.sessions[i]+1)*c.weights[j] < (c.sessions[j]+1)*c.weights[i]
}

package balance

import (
	"slices"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/pool"
)

// picker is what all kinds share: who may be taken, and the lease. A rule
// says which.
type picker struct {
	rule       rule
	minHealthy int
	// keepDraining is Options.KeepDraining.
	keepDraining bool
	rendezvous   rendezvous

	mu     sync.Mutex // one choice and its lease at a time; guards the following and rule
	chance chance
	candidates
	expected int // see Expect
	parts    []pool.Part
}

// rule is one algorithm. It is called under the picker's mutex.
type rule interface {
	// choose returns the best candidate, or -1 where there is none.
	choose(p *picker, q *Query) int
	// taken is told that the candidate chosen last has given its lease.
	taken(p *picker, q *Query, i int)
}

// candidates are the members that the choice under way may go to, as one look
// at each found them. The slices are by member.
type candidates struct {
	members []pool.Member // never changes
	// weights are Weight × Share, and 0 for those not to be taken.
	weights  []uint64
	sessions []uint64 // undefined where the weight is 0
}

func newPicker(minHealthy int, members []pool.Member) *picker {
	members = slices.Clone(members)
	return &picker{
		minHealthy: minHealthy,
		rendezvous: newRendezvous(members),
		candidates: candidates{members, make([]uint64, len(members)), make([]uint64, len(members))},
		parts:      make([]pool.Part, len(members)),
	}
}

func (p *picker) Members() []pool.Member { return p.members }

func (p *picker) Home(key uint64) int { return p.rendezvous.first(key, nil) }

func (p *picker) Take(q *Query) (Choice, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.expected > 0 && q.Session && !q.Keyed {
		switch c, err := p.takeBelow(q); err {
		case nil:
			p.expected--
			return c, nil
		case ErrEven:
			p.expected = 0
		}
	}
	if err := p.survey(q); err != nil {
		return Choice{}, err
	}
	for none := ErrFull; ; { // others may be faster
		i := p.rule.choose(p, q)
		if i < 0 {
			return Choice{}, none
		}
		if c, ok := lease(p.members, i, q.Own); ok {
			if q.Rates == nil || q.Rates.TryPass(i) {
				p.rule.taken(p, q, i)
				return c, nil
			}
			c.Backend.Release()
			none = ErrHeld
		}
		p.weights[i] = 0
	}
}

func (p *picker) TakeBelow(q *Query) (Choice, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeBelow(q)
}

func (p *picker) Expect(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected += n
}

// takeBelow is TakeBelow under mu. Rules aren't told: what is taken this way
// is beside what they give each member in turn.
func (p *picker) takeBelow(q *Query) (Choice, error) {
	for none := p.below(q); ; {
		i := -1
		if q.Keyed {
			i = p.rendezvous.first(q.Key, p.weights)
		} else {
			for j, w := range p.weights {
				if w > 0 && (i < 0 || p.lighter(j, i)) {
					i = j
				}
			}
		}
		if i < 0 {
			return Choice{}, none
		}
		if c, ok := lease(p.members, i, q.Own); ok {
			if q.Rates == nil || q.Rates.TryPass(i) {
				return c, nil
			}
			c.Backend.Release()
			none = ErrHeld
		}
		p.weights[i] = 0 // others were faster
	}
}

// below makes those members candidates that are fit, have fewer sessions than
// their fair share of what all fit ones have, and may be chosen by q. It
// returns the error for when there are none.
func (p *picker) below(q *Query) (none error) {
	total := 0
	for i := range p.members {
		m := &p.members[i]
		p.weights[i], p.parts[i] = 0, pool.Part{}
		if m.Backend.Fitness() != pool.Fit {
			continue
		}
		p.weights[i] = uint64(m.Weight) * uint64(m.Backend.Share())
		p.sessions[i] = uint64(m.Backend.Sessions())
		p.parts[i] = pool.Part{Weight: p.weights[i], Most: m.Backend.Most()}
		total += int(p.sessions[i])
	}
	none = ErrEven
	level := pool.FairLevel(p.parts, total)
	for i := range p.members {
		switch {
		case q.Tried.Has(i), float64(p.sessions[i]) >= p.parts[i].Fair(level):
			p.weights[i] = 0
		case q.Rates != nil && !q.Rates.Ready(i):
			p.weights[i], none = 0, ErrHeld
		}
	}
	return none
}

func (p *picker) TakeMember(i int) (Choice, bool) {
	if i < 0 || i >= len(p.members) {
		return Choice{}, false
	}
	// The usual case needs no look at the others.
	b := p.members[i].Backend
	if f := b.Fitness(); f != pool.Fit && f > p.admit() && !(p.keepDraining && b.Drains()) {
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
		b.AcquireAgain()
	case !b.TryAcquire():
		return Choice{}, false
	}
	return Choice{Backend: b, Index: i, Addr: addr}, true
}

// survey finds the candidates, or says why there are none.
//
// Fit members are candidates. Where none of those is left to try, ejected ones
// are: the failures of a few handshakes are a guess, and no reason to turn a
// client away untried. Where fewer than minHealthy members are fit at all, it
// is likelier that the checks are wrong, or that the rest would break under
// the load of all, than that all those are dead: then health is not believed,
// and all but closed ones are candidates.
func (p *picker) survey(q *Query) error {
	s := p.look(q, pool.Fit)
	if s.fit < p.minHealthy {
		s = p.look(q, pool.Unfit)
	} else if s.open == 0 {
		s = p.look(q, pool.Ejected)
	}
	switch {
	case s.open == 0:
		return ErrNone
	case s.open == s.full:
		return ErrFull
	case s.open == s.full+s.held:
		return ErrHeld
	}
	return nil
}

type seen struct {
	fit  int // members that are Fit, tried or not
	open int // members that may be taken by what they are
	full int // of open
	held int // of open, by Rates
}

// look makes those members candidates that are as fit as worst or better, not
// tried, not full and not held back.
func (c *candidates) look(q *Query, worst pool.Fitness) (s seen) {
	for i := range c.members {
		m := &c.members[i]
		c.weights[i] = 0
		fitness := m.Backend.Fitness()
		if fitness == pool.Fit {
			s.fit++
		}
		if fitness > worst || q.Tried.Has(i) {
			continue
		}
		s.open++
		if m.Backend.Full() && m.Backend != q.Own {
			s.full++
			continue
		}
		if q.Rates != nil && !q.Rates.Ready(i) {
			s.held++
			continue
		}
		c.weights[i] = uint64(m.Weight) * uint64(m.Backend.Share())
		c.sessions[i] = uint64(m.Backend.Sessions())
	}
	return s
}

// admit is the worst fitness that survey would admit, had nobody been tried.
func (p *picker) admit() pool.Fitness {
	fit := 0
	for i := range p.members {
		if p.members[i].Backend.Fitness() == pool.Fit {
			fit++
		}
	}
	switch {
	case fit < p.minHealthy:
		return pool.Unfit
	case fit == 0:
		return pool.Ejected
	}
	return pool.Fit
}

// totals are the sums of the candidates' weights and sessions.
func (c *candidates) totals() (weight, sessions uint64) {
	for i, w := range c.weights {
		if w > 0 {
			weight += w
			sessions += c.sessions[i]
		}
	}
	return weight, sessions
}

// lighter tells whether candidate i would be less loaded than j by one session
// more: (sessions+1)/weight, without dividing. Counting that one sends the
// first session to the heaviest and not to whoever is first; with equal
// weights it is the plain least.
func (c *candidates) lighter(i, j int) bool {
	return (c.sessions[i]+1)*c.weights[j] < (c.sessions[j]+1)*c.weights[i]
}

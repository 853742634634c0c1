package balance

import "github.com/holdfast-ws/holdfast/internal/upstream/pool"

// tier is the members that are candidates together.
type tier bool

const (
	primaries tier = false
	backups   tier = true
)

// findBackups notes which members are backups. If all are, none is: there is nothing
// that they could stand in for.
func (p *picker) findBackups() {
	n := pool.Primaries(p.members)
	p.hasBackups = n < len(p.members)
	if !p.hasBackups {
		return
	}
	p.primaries = make([]uint64, len(p.members))
	for i := range p.members {
		if !p.members[i].Backup {
			p.primaries[i] = 1
		}
	}
}

func (p *picker) isBackup(i int) bool { return p.primaries != nil && p.primaries[i] == 0 }

// collectCandidates finds the candidates, or returns why there are none.
//
// Available members are candidates. If none of them is left to try, ejected ones are:
// a few failed handshakes are only a guess, and no reason to turn a client away
// untried. If fewer than minHealthy members are available at all, it is likelier that
// the checks are wrong, or that the rest would break under the whole load, than
// that all the others are dead. Then health is ignored, and all but closed
// members are candidates.
//
// Backups are candidates only if no primary is left that can take the session: each is
// tried, full or not available. One that is only rate limited can, in a moment.
// Available backups come before primaries that are unhealthy or ejected, if no primary
// is available at all: that is what backups are for. As long as one is, minHealthy goes
// first.
func (p *picker) collectCandidates(q *Query) error {
	s := p.consider(q, primaries, pool.Available)
	worst := pool.Ejected
	if s.available < p.minHealthy {
		worst = pool.Unhealthy
	}
	if !p.hasBackups {
		if worst == pool.Unhealthy || s.usable == 0 {
			s = p.consider(q, primaries, worst)
		}
		return s.reason()
	}
	if worst == pool.Unhealthy && s.available > 0 {
		s = p.consider(q, primaries, worst)
	}
	if s.usable > s.full {
		return s.reason()
	}
	spare := p.consider(q, backups, pool.Available)
	if spare.usable > spare.full || s.usable > 0 {
		return s.or(spare).reason()
	}
	// No primary is available that may be tried, and no backup has room.
	s = p.consider(q, primaries, worst)
	if s.usable > s.full || spare.usable > 0 {
		return s.or(spare).reason()
	}
	return s.or(p.consider(q, backups, worst)).reason()
}

// counts is what consider found, of the members of a tier.
type counts struct {
	available   int // members that are Available, tried or not
	usable      int // members that may be tried, by their availability
	full        int // of usable
	rateLimited int // of usable
}

// reason is why there are no candidates, or nil if there are.
func (s counts) reason() error {
	switch {
	case s.usable == 0:
		return ErrNoBackend
	case s.usable == s.full:
		return ErrFull
	case s.usable == s.full+s.rateLimited:
		return ErrRateLimited
	}
	return nil
}

// or adds the counts of another tier. One of the two has no candidates.
func (s counts) or(t counts) counts {
	return counts{s.available + t.available, s.usable + t.usable, s.full + t.full, s.rateLimited + t.rateLimited}
}

// consider makes candidates of the members of a tier that are at least as available as
// worst, not tried, not full and not rate limited.
func (p *picker) consider(q *Query, which tier, worst pool.Availability) (s counts) {
	for i := range p.members {
		m := &p.members[i]
		p.weights[i] = 0
		if p.hasBackups && p.isBackup(i) != bool(which) {
			continue
		}
		availability := m.Backend.Availability()
		if availability == pool.Available {
			s.available++
		}
		if availability > worst || q.Tried.Has(i) {
			continue
		}
		s.usable++
		if m.Backend.Full() && m.Backend != q.Lost {
			s.full++
			continue
		}
		if q.RateLimits != nil && !q.RateLimits.CanTake(i) {
			s.rateLimited++
			continue
		}
		p.weights[i] = uint64(m.Weight) * uint64(m.Backend.Share())
		p.sessions[i] = uint64(m.Backend.Sessions())
	}
	return s
}

// worstAcceptable is the worst availability at which collectCandidates would accept the
// i-th member if no member had been tried.
func (p *picker) worstAcceptable(i int) pool.Availability {
	available, spare := 0, 0
	for j := range p.members {
		switch {
		case p.members[j].Backend.Availability() != pool.Available:
		case p.isBackup(j):
			spare++
		default:
			available++
		}
	}
	few := available < p.minHealthy
	switch {
	case few && (available > 0 && !p.isBackup(i) || available+spare == 0):
		return pool.Unhealthy
	case available+spare == 0:
		return pool.Ejected
	}
	return pool.Available
}

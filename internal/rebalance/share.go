package rebalance

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/pool"
)

// Member is a backend of a pool as it is at a step.
type Member struct {
	ID uint32
	// Part has no Weight where the backend is neither to give nor to get any.
	pool.Part
	Sessions int // leases
	// Leaving are those of Sessions that are on their way to another backend,
	// or to their end.
	Leaving int
}

// Look is what a pool's members are now. leaving has the Member.Leaving of each
// by its ID; it is to be asked for before, lest a session that goes meanwhile
// is counted twice.
func Look(members []pool.Member, leaving map[uint32]int) []Member {
	list := make([]Member, len(members))
	for i, m := range members {
		b := m.Backend
		list[i] = Member{ID: b.ID, Sessions: b.Sessions(), Leaving: leaving[b.ID]}
		if b.Fitness() == pool.Fit {
			list[i].Part = pool.Part{Weight: uint64(m.Weight) * uint64(b.Share()), Most: b.Most()}
		}
	}
	return list
}

// goal is how many sessions a member should have.
type goal struct {
	Member
	fair  float64 // share
	whole int     // the same in whole sessions, of which all together have Planner.expected
}

// stays is how many of its sessions aren't leaving.
func (m *Member) stays() int { return max(m.Sessions-m.Leaving, 0) }

// over is how many sessions it has too many; below 0 how many it lacks.
func (g *goal) over() int { return g.stays() - g.whole }

// divide gives each member that takes part its goal. Where fair shares are no
// whole numbers, those that have the most above theirs are rounded up, so that
// as few sessions as can be are over.
func (p *Planner) divide(now time.Time, members []Member) []goal {
	var goals []goal
	var parts []pool.Part
	for _, m := range members {
		if m.Weight > 0 {
			goals = append(goals, goal{Member: m})
			parts = append(parts, m.Part)
		}
	}
	p.expect(now, goals)
	level := pool.FairLevel(parts, p.expected)
	rest := p.expected
	for i := range goals {
		g := &goals[i]
		g.fair = g.Fair(level)
		g.whole = int(g.fair)
		rest -= g.whole
	}
	slices.SortStableFunc(goals, func(a, b goal) int {
		return cmp.Compare(float64(b.stays())-b.fair, float64(a.stays())-a.fair)
	})
	for i := range goals {
		if g := &goals[i]; rest > 0 && g.fair > float64(g.whole) {
			g.whole++
			rest--
		}
	}
	return goals
}

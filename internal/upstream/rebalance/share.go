package rebalance

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// Member is a backend of a pool at the time of a step.
type Member struct {
	ID uint32
	// The Weight of its Capacity is 0 if it should neither give nor get any.
	pool.Capacity
	Sessions int // leases
	// Leaving is how many of Sessions are being moved or closed.
	Leaving int
}

// Snapshot returns the current state of a pool's members. Backups neither give nor get
// any: they got their sessions because no other could take them, and these stay when the
// others are back. leaving has the
// Member.Leaving of each by its ID. It must be read before, so that a session that
// leaves meanwhile isn't counted twice.
func Snapshot(members []pool.Member, leaving map[uint32]int) []Member {
	list := make([]Member, len(members))
	all := pool.Primaries(members) == len(members)
	for i, m := range members {
		b := m.Backend
		list[i] = Member{ID: b.ID, Sessions: b.Sessions(), Leaving: leaving[b.ID]}
		if (all || !m.Backup) && b.Availability() == pool.Available {
			list[i].Capacity = pool.Capacity{Weight: uint64(m.Weight) * uint64(b.Share()), Limit: b.SessionLimit()}
		}
	}
	return list
}

// goal is how many sessions a member should have.
type goal struct {
	Member
	share  float64 // its fair share
	target int     // the same in whole sessions; all targets sum to Planner.expected
}

// stays is how many of its sessions aren't leaving.
func (m *Member) stays() int { return max(m.Sessions-m.Leaving, 0) }

// excess is how many sessions it has above its target; negative if it lacks some.
func (g *goal) excess() int { return g.stays() - g.target }

// computeGoals returns a goal for each member that takes part. Fair shares that
// aren't whole numbers are rounded up for the members that have most above theirs,
// so that as few sessions as possible are in excess.
func (p *Planner) computeGoals(now time.Time, members []Member) []goal {
	var goals []goal
	var parts []pool.Capacity
	for _, m := range members {
		if m.Weight > 0 {
			goals = append(goals, goal{Member: m})
			parts = append(parts, m.Capacity)
		}
	}
	p.countSessions(now, goals)
	level := pool.FairLevel(parts, p.expected)
	rest := p.expected
	for i := range goals {
		g := &goals[i]
		g.share = g.FairShare(level)
		g.target = int(g.share)
		rest -= g.target
	}
	slices.SortStableFunc(goals, func(a, b goal) int {
		return cmp.Compare(float64(b.stays())-b.share, float64(a.stays())-a.share)
	})
	for i := range goals {
		if g := &goals[i]; rest > 0 && g.share > float64(g.target) {
			g.target++
			rest--
		}
	}
	return goals
}

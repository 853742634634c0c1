package rebalance

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/clock"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// Target is a pool to rebalance, as it is now.
type Target struct {
	Name    string
	Members []pool.Member
	Rules   Rules
	MinAge  time.Duration // of the sessions that are given away
	// Paused: nothing is done for now.
	Paused bool
}

// Request asks the engine to give away sessions: of each backend at most Most,
// the oldest of those that Select allows, evenly within Interval.
type Request struct {
	Pool string
	Most map[uint32]int // by backend
	// Only sessions may be given away that began not after UpTo, and after their
	// backend's time in After, if it has one.
	UpTo  time.Time
	After map[uint32]time.Time
}

// Select reports whether r allows a session to be given away.
func (r Request) Select(i session.Info) bool {
	return !i.Started.After(r.UpTo) && i.Started.After(r.After[i.Backend])
}

// Options are a Rebalancer's dependencies. Its functions are called on a goroutine
// that may wait.
type Options struct {
	Log   *slog.Logger
	Clock clock.Clock // nil is the system's
	// Pools lists the pools to rebalance. While there are none, it isn't
	// called again until PoolsChanged is.
	Pools func() []Target
	// Leaving counts, by backend, the sessions that are being moved or closed.
	Leaving func() map[uint32]int
	// Give carries out a Request and returns how many sessions will be given
	// away.
	Give func(Request) int
}

// Rebalancer runs the planners of all pools. Its methods are safe for concurrent
// use. Only Close blocks.
type Rebalancer struct {
	o     Options
	loop  clock.Loop
	ended sync.WaitGroup

	mu       sync.Mutex // guards the following
	planners map[string]*Planner
	// tried is, by backend, the start of the youngest session that could not
	// be moved: older ones are not tried again until all younger ones have
	// been.
	tried  map[uint32]time.Time
	closed bool
}

// New starts a Rebalancer. The caller must Close it.
func New(o Options) *Rebalancer {
	o.Clock = clock.Or(o.Clock)
	r := &Rebalancer{o: o, planners: map[string]*Planner{}, tried: map[uint32]time.Time{}}
	r.loop = o.Clock.Loop(r.step)
	r.ended.Add(1)
	r.loop.Start()
	return r
}

// PoolsChanged must be called when Pools lists other pools than before.
func (r *Rebalancer) PoolsChanged() { r.loop.Nudge() }

// Close stops the Rebalancer and waits. The last Request is still carried out.
func (r *Rebalancer) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.loop.Nudge()
	r.ended.Wait()
}

func (r *Rebalancer) step() (wait time.Duration, more bool) {
	pools := r.o.Pools()
	if !r.syncPlanners(pools) {
		r.ended.Done()
		return 0, false
	}
	if len(pools) == 0 {
		return clock.Idle, true
	}
	var leaving map[uint32]int
	for i := range pools {
		p := &pools[i]
		if p.Paused {
			continue
		}
		if leaving == nil && r.planners[p.Name].State().Active {
			leaving = r.o.Leaving()
		}
		if g := r.plan(p, leaving); len(g.Most) > 0 {
			r.recordGiven(p, r.o.Give(g))
		}
	}
	return Interval, true
}

// plan makes the next step of a pool's planner.
func (r *Rebalancer) plan(p *Target, leaving map[uint32]int) Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, planner := r.o.Clock.Now(), r.planners[p.Name]
	planner.Rules = p.Rules
	members := Snapshot(p.Members, leaving)
	before := planner.State()
	most := planner.Step(now, members)
	after := planner.State()
	if before.Active != after.Active {
		r.logChange(p, members, before, after)
		if !after.Active && after.Rest == 0 {
			r.clearTried(p)
		}
	}
	if len(most) == 0 {
		return Request{}
	}
	return Request{Pool: p.Name, Most: most, UpTo: now.Add(-p.MinAge), After: maps.Clone(r.tried)}
}

// recordGiven records how many sessions were given away.
func (r *Rebalancer) recordGiven(p *Target, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	planner := r.planners[p.Name]
	before := planner.State()
	planner.RecordGiven(r.o.Clock.Now(), n)
	if n > 0 {
		return
	}
	r.clearTried(p)
	if !before.Paused {
		r.o.Log.Info("no session can be given away at the moment", "pool", p.Name, "min_age", p.MinAge.String(), "excess", before.Excess)
	}
}

// syncPlanners makes and drops planners to match pools. It reports whether to go on.
func (r *Rebalancer) syncPlanners(pools []Target) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	planners, tried := map[string]*Planner{}, map[uint32]time.Time{}
	for _, p := range pools {
		if planners[p.Name] = r.planners[p.Name]; planners[p.Name] == nil {
			planners[p.Name] = &Planner{}
		}
		for _, m := range p.Members {
			if at, ok := r.tried[m.Backend.ID]; ok {
				tried[m.Backend.ID] = at
			}
		}
	}
	r.planners, r.tried = planners, tried
	return !r.closed
}

// MoveFailed reports that a session stays with its backend because it could not be
// moved. It may be called on the engine's goroutines and doesn't block.
func (r *Rebalancer) MoveFailed(i session.Info) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i.Started.After(r.tried[i.Backend]) {
		r.tried[i.Backend] = i.Started
	}
}

// clearTried lets all sessions of a pool be tried again. mu must be held.
func (r *Rebalancer) clearTried(p *Target) {
	for _, m := range p.Members {
		delete(r.tried, m.Backend.ID)
	}
}

// logChange logs that rebalancing began, paused or ended.
func (r *Rebalancer) logChange(p *Target, members []Member, before, after State) {
	fullest, emptiest := extremes(p.Members, members)
	log := r.o.Log.With("pool", p.Name, "fullest", fullest, "emptiest", emptiest)
	switch {
	case after.Active:
		log.Info("a pool is being rebalanced", "excess", after.Excess)
	case after.Rest > 0:
		log.Warn("a pool stays uneven although its whole excess was given away; rebalancing rests for a while",
			"given", after.Given, "excess", after.Excess, "for", after.Rest.String())
	default:
		log.Info("a pool is even again", "given", after.Given, "after", after.Since.Sub(before.Since).Round(time.Millisecond).String())
	}
}

// extremes names the backends with the most and the fewest sessions for their
// weight, each with its number of sessions.
func extremes(backends []pool.Member, members []Member) (fullest, emptiest string) {
	var available []int
	for i := range members {
		if members[i].Weight > 0 {
			available = append(available, i)
		}
	}
	if len(available) == 0 {
		return "", ""
	}
	load := func(i int) float64 { return float64(members[i].Sessions) / float64(members[i].Weight) }
	byLoad := func(a, b int) int { return cmp.Compare(load(a), load(b)) }
	word := func(i int) string { return fmt.Sprintf("%s: %d", backends[i].Backend.Name, members[i].Sessions) }
	return word(slices.MaxFunc(available, byLoad)), word(slices.MinFunc(available, byLoad))
}

// States returns the state of each pool's rebalancing, by name.
func (r *Rebalancer) States() map[string]State {
	r.mu.Lock()
	defer r.mu.Unlock()
	states := make(map[string]State, len(r.planners))
	for name, p := range r.planners {
		states[name] = p.State()
	}
	return states
}

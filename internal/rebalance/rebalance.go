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
	"github.com/holdfast-ws/holdfast/internal/pool"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// Pool is a pool that is to be rebalanced, as it is now.
type Pool struct {
	Name    string
	Members []pool.Member
	Rules   Rules
	MinAge  time.Duration // of the sessions that are given away
	// Wait has it left alone for the moment.
	Wait bool
}

// Order is what the engine is asked to do: to give away at most so many sessions
// of each backend, the oldest of those that Select lets through, evenly within
// Interval.
type Order struct {
	Pool   string
	Most   map[uint32]int
	Select func(session.Info) bool
}

// Options are what a Rebalancer works with. All functions may be called from
// any goroutine but the engine's, and may take long.
type Options struct {
	Log   *slog.Logger
	Clock clock.Clock // nil is the system's
	// Pools lists the pools that are to be rebalanced. While there are none,
	// it isn't asked again before Look is called.
	Pools func() []Pool
	// Leaving counts the sessions that are on their way to another backend,
	// or to their end, by backend.
	Leaving func() map[uint32]int
	// Give does as it is told, and returns how many sessions will be given
	// away.
	Give func(Order) int
}

// Rebalancer drives the planners of all pools. All methods may be called from
// anywhere, and none blocks but Close.
type Rebalancer struct {
	o     Options
	loop  clock.Loop
	ended sync.WaitGroup

	mu       sync.Mutex // guards the following
	planners map[string]*Planner
	// tried is, by backend, when the youngest session began that could not be
	// moved: older ones are not asked again until all younger have been.
	tried  map[uint32]time.Time
	closed bool
}

// New starts a Rebalancer; Close ends it.
func New(o Options) *Rebalancer {
	o.Clock = clock.Or(o.Clock)
	r := &Rebalancer{o: o, planners: map[string]*Planner{}, tried: map[uint32]time.Time{}}
	r.loop = o.Clock.Loop(r.step)
	r.ended.Add(1)
	r.loop.Start()
	return r
}

// Look has it see that Pools lists others than before.
func (r *Rebalancer) Look() { r.loop.Nudge() }

// Close ends it and waits for that. What was ordered last is still carried out.
func (r *Rebalancer) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.loop.Nudge()
	r.ended.Wait()
}

func (r *Rebalancer) step() (wait time.Duration, more bool) {
	pools := r.o.Pools()
	if !r.keep(pools) {
		r.ended.Done()
		return 0, false
	}
	if len(pools) == 0 {
		return clock.Idle, true
	}
	var leaving map[uint32]int
	for i := range pools {
		p := &pools[i]
		if p.Wait {
			continue
		}
		if leaving == nil && r.planners[p.Name].State().Active {
			leaving = r.o.Leaving()
		}
		if g := r.plan(p, leaving); len(g.Most) > 0 {
			r.gave(p, r.o.Give(g))
		}
	}
	return Interval, true
}

// plan is the next step of a pool's planner.
func (r *Rebalancer) plan(p *Pool, leaving map[uint32]int) Order {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, planner := r.o.Clock.Now(), r.planners[p.Name]
	planner.Rules = p.Rules
	members := Look(p.Members, leaving)
	before := planner.State()
	most := planner.Step(now, members)
	after := planner.State()
	if before.Active != after.Active {
		r.tell(p, members, before, after)
		if !after.Active && after.Rest == 0 {
			r.forget(p)
		}
	}
	if len(most) == 0 {
		return Order{}
	}
	return Order{Pool: p.Name, Most: most, Select: r.mayGo(now.Add(-p.MinAge))}
}

// gave takes note of how many sessions were given away.
func (r *Rebalancer) gave(p *Pool, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	planner := r.planners[p.Name]
	before := planner.State()
	planner.Gave(r.o.Clock.Now(), n)
	if n > 0 {
		return
	}
	r.forget(p)
	if !before.Paused {
		r.o.Log.Info("no session can be given away at the moment", "pool", p.Name, "min_age", p.MinAge.String(), "excess", before.Excess)
	}
}

// keep has a planner for each pool that is to have one. It reports whether any
// step is to follow.
func (r *Rebalancer) keep(pools []Pool) bool {
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

// mayGo selects the sessions that may be given away: those that began by then.
// It is called with mu held.
func (r *Rebalancer) mayGo(then time.Time) func(session.Info) bool {
	tried := maps.Clone(r.tried)
	return func(i session.Info) bool {
		return !i.Started.After(then) && i.Started.After(tried[i.Backend])
	}
}

// NotMoved tells of a session that stays with its backend since it could not
// be moved. It may be called on the engine's goroutines.
func (r *Rebalancer) NotMoved(i session.Info) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i.Started.After(r.tried[i.Backend]) {
		r.tried[i.Backend] = i.Started
	}
}

// forget has all sessions of a pool asked again. It is called with mu held.
func (r *Rebalancer) forget(p *Pool) {
	for _, m := range p.Members {
		delete(r.tried, m.Backend.ID)
	}
}

// tell logs what has changed.
func (r *Rebalancer) tell(p *Pool, members []Member, before, after State) {
	fullest, emptiest := extremes(p.Members, members)
	log := r.o.Log.With("pool", p.Name, "fullest", fullest, "emptiest", emptiest)
	switch {
	case after.Active:
		log.Info("a pool is being rebalanced", "excess", after.Excess)
	case after.Rest > 0:
		log.Warn("a pool stays uneven though as many sessions as were too many have been given away; it is left alone for a while",
			"given", after.Given, "excess", after.Excess, "for", after.Rest.String())
	default:
		log.Info("a pool is even again", "given", after.Given, "after", after.Since.Sub(before.Since).Round(time.Millisecond).String())
	}
}

// extremes are the backends with the most and the fewest sessions for their
// weight, and how many these are.
func extremes(backends []pool.Member, members []Member) (fullest, emptiest string) {
	var fit []int
	for i := range members {
		if members[i].Weight > 0 {
			fit = append(fit, i)
		}
	}
	if len(fit) == 0 {
		return "", ""
	}
	load := func(i int) float64 { return float64(members[i].Sessions) / float64(members[i].Weight) }
	byLoad := func(a, b int) int { return cmp.Compare(load(a), load(b)) }
	word := func(i int) string { return fmt.Sprintf("%s: %d", backends[i].Backend.Name, members[i].Sessions) }
	return word(slices.MaxFunc(fit, byLoad)), word(slices.MinFunc(fit, byLoad))
}

// States is how the rebalancing of each pool goes, by name.
func (r *Rebalancer) States() map[string]State {
	r.mu.Lock()
	defer r.mu.Unlock()
	states := make(map[string]State, len(r.planners))
	for name, p := range r.planners {
		states[name] = p.State()
	}
	return states
}

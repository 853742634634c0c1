// Package drain empties backends that should take no more sessions. Existing
// sessions go on, or are moved to other backends; those that are left towards the
// deadline are closed politely, spread evenly over a while.
//
// A drain begins when an operator asks for it (Drain), when a health check is
// answered with 503, when a backend terminates by its list, or when it leaves the
// configuration: after every such change of a backend's state, upstream/pool calls
// Reconcile. The package only
// decides when; the relay closes and moves the sessions (see Options). Shutting
// down the balancer itself is not its business: see internal/app/shutdown.go.
package drain

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/clock"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// Plan says how a pool's backends are emptied.
type Plan struct {
	// Timeout is how long sessions may go on. Sessions that have not been
	// moved by then are closed. 0 closes them at once, or moves them at once
	// and closes those whose move fails.
	Timeout time.Duration
	// Spread is the last part of Timeout, over which remaining sessions are
	// closed.
	Spread time.Duration
	Code   uint16 // of the Close frame
	Reason string // in the Close frame

	// Early is for a backend that will be killed at a known time, and may end before:
	// Kubernetes tells a pod to end and the balancer to drain it at the same time.
	// Its sessions are closed over the whole of Timeout rather than in its last part.
	// If they are moved, they are moved over the first half, and what is left is
	// moved again or closed over the second.
	Early bool
	// Moves says that Move moves sessions.
	Moves bool
}

// margin is how long before a backend is killed its drain ends.
const margin = 2 * time.Second

// within returns the plan of a drain of b that began at since and goes on at now.
func (p Plan) within(b *pool.Backend, since, now time.Time) Plan {
	end, killAt := since.Add(p.Timeout), b.KillAt()
	if last := killAt.Add(-margin); !killAt.IsZero() && last.Before(end) {
		end = last
	}
	p.Timeout = max(end.Sub(now), 0)
	if b.Gone() { // there is nothing to wait for
		p.Timeout = 0
	}
	most := p.Timeout
	if !killAt.IsZero() {
		if p.Early {
			p.Spread = most
		}
		if p.Moves {
			most /= 2
		}
	}
	p.Spread = min(p.Spread, most)
	return p
}

// terms are what a drain depends on beside its Plan. When they change, it starts again.
type terms struct {
	killAt time.Time
	gone   bool
}

func termsOf(b *pool.Backend) terms { return terms{b.KillAt(), b.Gone()} }

// Options are a Drainer's dependencies. Its functions are called on a goroutine
// that may wait.
type Options struct {
	Log *slog.Logger
	// Plan returns the current plan of the backend's pool.
	Plan func(*pool.Backend) Plan
	// Close closes all sessions of the backend, each with the cause, evenly
	// over spread, and returns how many. With move, each session is moved
	// instead if its pool allows that, and closed if the move fails. Without
	// move, moves under way are cancelled, unless the old backend has already
	// been told to close the session.
	Close func(b *pool.Backend, cause session.Cause, p Plan, spread time.Duration, move bool) int
	// Move moves the sessions of the backend to others, evenly over spread, if
	// their pool allows that, and returns how many it will try to move.
	// Sessions whose move fails stay until Close.
	Move func(b *pool.Backend, spread time.Duration) int
	// CancelClose cancels what Close has planned and not begun yet.
	CancelClose func(*pool.Backend)
	// Clock is the source of time; nil means the system's.
	Clock clock.Clock
}

// Drainer empties backends. Its methods are safe for concurrent use. Only Close
// blocks.
type Drainer struct {
	o       Options
	running sync.WaitGroup

	mu      sync.Mutex // guards the following
	drains  map[*pool.Backend]*drain
	ending  map[*pool.Backend]*drain        // drains that were stopped and have not ended yet
	timeout map[*pool.Backend]time.Duration // given to Drain, instead of the Plan's
	closed  bool
}

// drain is one backend being emptied.
//
//	            Plan.Timeout - Spread          Spread
//	start  ───▶ waiting ────────────▶ closing ───────▶ over
//	                │ stopped             │
//	                └──────────┬──────────┘
//	                           ▼
//	                remaining sessions stay
type drain struct {
	backend  *pool.Backend
	cause    session.Cause
	plan     Plan
	terms    terms
	since    time.Time
	deadline time.Time
	sessions int // live when it began
	loop     clock.Loop
	log      *slog.Logger
	stopped  bool        // it was cancelled; guarded by Drainer.mu
	next     *drain      // of the same backend, starts when this one has ended; guarded by Drainer.mu
	arrived  atomic.Bool // a session has come since Move was last called

	// Used by the loop only.
	begun, empty, closing bool
	sweep                 time.Time // the next time to close what is left
}

// New makes a Drainer. The caller must Close it.
func New(o Options) *Drainer {
	o.Clock = clock.Or(o.Clock)
	return &Drainer{o: o, drains: map[*pool.Backend]*drain{}, ending: map[*pool.Backend]*drain{}, timeout: map[*pool.Backend]time.Duration{}}
}

// Drain empties b at an operator's request. A timeout below 0 means the Plan's. If
// b is being emptied already, the drain starts again.
func (d *Drainer) Drain(b *pool.Backend, timeout time.Duration, reason string) {
	d.Empty(b, pool.Drain, timeout, reason)
}

// Empty is Drain with another state than Drain, such as Maint.
func (d *Drainer) Empty(b *pool.Backend, state pool.Admin, timeout time.Duration, reason string) {
	d.Restart(b, timeout)
	b.Operate(state, reason)
	d.Reconcile(b)
}

// Restart makes the next drain of b, which the caller is about to cause, begin anew. A
// timeout below 0 means the Plan's.
func (d *Drainer) Restart(b *pool.Backend, timeout time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(b)
	if timeout >= 0 {
		d.timeout[b] = timeout
	}
}

// Undrain ends what Drain began: b takes sessions again, unless its checks or its
// removal keep it empty.
func (d *Drainer) Undrain(b *pool.Backend, reason string) {
	b.Operate(pool.Ready, reason)
	d.Reconcile(b)
}

// Reconcile starts or ends the drain of b according to its state. It must be called
// after every change of that state.
func (d *Drainer) Reconcile(b *pool.Backend) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wanted := shouldDrain(b)
	switch under := d.drains[b]; {
	case d.closed:
	case wanted && under == nil:
		d.begin(b, d.o.Clock.Now(), b.Sessions())
	case wanted && under.terms != termsOf(b):
		timeout, given := d.timeout[b]
		d.end(b)
		if given {
			d.timeout[b] = timeout
		}
		d.begin(b, under.since, under.sessions)
	case !wanted && under != nil:
		d.end(b)
	}
}

func shouldDrain(b *pool.Backend) bool {
	return b.Removed() || b.Admin() != pool.Ready || b.Operational() == pool.Draining || b.Listed() == pool.ListedTerminating
}

// SessionArrived reports that a session has just opened on b. If a drain of b began
// meanwhile, the session is moved or closed like the others. It is safe for
// concurrent use and doesn't block.
func (d *Drainer) SessionArrived(b *pool.Backend) {
	if !shouldDrain(b) {
		return // a drain that starts now will see it
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if dr := d.drains[b]; dr != nil {
		dr.arrived.Store(true)
	}
}

// begin starts a drain, whose time counts from since, when there were so many sessions. mu
// must be held.
func (d *Drainer) begin(b *pool.Backend, since time.Time, sessions int) {
	plan := d.o.Plan(b)
	if timeout, ok := d.timeout[b]; ok {
		plan.Timeout, plan.Spread = timeout, min(plan.Spread, timeout)
	}
	now := d.o.Clock.Now()
	plan = plan.within(b, since, now)
	dr := &drain{backend: b, cause: session.BackendDrained, plan: plan, terms: termsOf(b),
		since: since, sessions: sessions, deadline: now.Add(plan.Timeout), sweep: now.Add(plan.Timeout),
		log: d.o.Log.With("pool", b.Pool, "backend", b.Name)}
	dr.loop = d.o.Clock.Loop(func() (time.Duration, bool) { return d.step(dr) })
	if b.Removed() {
		dr.cause = session.BackendRemoved
	}
	d.drains[b] = dr
	b.SetDrainDeadline(dr.deadline)
	d.running.Add(1)
	if before := d.ending[b]; before != nil {
		before.next = dr
		return
	}
	dr.loop.Start()
}

// end stops the drain of b, if there is one. mu must be held.
func (d *Drainer) end(b *pool.Backend) {
	delete(d.timeout, b)
	if dr := d.drains[b]; dr != nil {
		dr.stopped = true
		dr.loop.Nudge()
		delete(d.drains, b)
		d.ending[b] = dr
		b.SetDrainDeadline(time.Time{})
	}
}

// poll is how often a drain is checked.
const poll = 200 * time.Millisecond

// step is called by the drain's loop.
func (d *Drainer) step(dr *drain) (wait time.Duration, more bool) {
	b, now := dr.backend, d.o.Clock.Now()
	stopped, closed := d.stopRequested(dr)
	if stopped {
		if dr.begun {
			if !closed {
				d.o.CancelClose(b)
			}
			if !d.goesOn(dr) {
				dr.log.Info("a backend is no longer being emptied", "sessions", b.Sessions())
			}
		}
		d.finish(dr)
		return 0, false
	}
	if !dr.begun {
		dr.begun = true
		dr.log.Info("a backend is being emptied", "sessions", b.Sessions(),
			"timeout", dr.plan.Timeout.String(), "spread", dr.plan.Spread.String())
		if n := d.o.Move(b, dr.plan.Spread); n > 0 {
			dr.log.Info("the sessions of a backend are being moved", "sessions", n, "spread", dr.plan.Spread.String())
		}
	}
	if dr.arrived.Swap(false) {
		d.o.Move(b, 0)
	}
	left := dr.deadline.Sub(now)
	switch {
	case b.Sessions() == 0 && b.Removed():
		d.forget(dr)
		d.finish(dr)
		return 0, false
	case b.Sessions() == 0:
		// It may get sessions again: a handshake that chose it a moment before
		// the drain began can still take its lease.
		if !dr.empty {
			dr.empty = true
			dr.log.Info("a backend is empty", "after", now.Sub(dr.since).Round(time.Millisecond).String())
		}
	case !dr.closing && left <= dr.plan.Spread:
		dr.closing = true
		n := d.o.Close(b, dr.cause, dr.plan, max(left, 0), left > 0 || dr.plan.Timeout == 0)
		dr.log.Info("the sessions of a backend are being closed", "sessions", n, "spread", max(left, 0).String())
	case dr.closing && now.After(dr.sweep):
		// What is left are sessions whose handshakes were under way when Close
		// was called, and sessions whose moves have not ended.
		dr.sweep = now.Add(time.Second)
		d.o.Close(b, dr.cause, dr.plan, 0, dr.plan.Timeout == 0)
	}
	return poll, true
}

// stopRequested reports whether dr was cancelled, and whether the Drainer is closed.
func (d *Drainer) stopRequested(dr *drain) (stopped, closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return dr.stopped, d.closed
}

// goesOn reports whether another drain of the same backend follows.
func (d *Drainer) goesOn(dr *drain) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return dr.next != nil
}

func (d *Drainer) forget(dr *drain) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.drains[dr.backend] == dr {
		delete(d.drains, dr.backend)
		delete(d.timeout, dr.backend)
	}
}

// finish ends dr. The next drain of the same backend starts only now, so that dr
// doesn't cancel what that one asks for.
func (d *Drainer) finish(dr *drain) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ending[dr.backend] == dr {
		delete(d.ending, dr.backend)
	}
	if dr.next != nil {
		dr.next.loop.Start()
	}
	d.running.Done()
}

// State describes one drain.
type State struct {
	Backend  *pool.Backend
	Since    time.Time
	Deadline time.Time
	Sessions int // live when it began
}

// States lists all drains, including those of backends that are empty by now, by
// backend ID.
func (d *Drainer) States() []State {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []State
	for b, dr := range d.drains {
		all = append(all, State{b, dr.since, dr.deadline, dr.sessions})
	}
	slices.SortFunc(all, func(a, b State) int { return cmp.Compare(a.Backend.ID, b.Backend.ID) })
	return all
}

// Close ends all drains, leaves the sessions unchanged, and waits.
func (d *Drainer) Close() {
	d.mu.Lock()
	d.closed = true
	for b := range d.drains {
		d.end(b)
	}
	d.mu.Unlock()
	d.running.Wait()
}

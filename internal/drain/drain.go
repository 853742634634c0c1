// Package drain empties backends that are to take no more sessions: those they
// have go on, and what is left towards the deadline is closed politely, evenly
// over a while.
package drain

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/clock"
	"github.com/holdfast-ws/holdfast/internal/pool"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// Plan is how a pool's backends are emptied.
type Plan struct {
	// Timeout is how long sessions may go on; 0 closes them at once.
	Timeout time.Duration
	// Spread is the last part of Timeout, over which what is left is closed.
	Spread time.Duration
	Code   uint16 // of the Close frame
	Reason string // in the Close frame
}

// Options are what a Drainer works with. All functions may be called from any
// goroutine but the engine's, and may take long.
type Options struct {
	Log *slog.Logger
	// Plan is that of the backend's pool, as it is configured now.
	Plan func(*pool.Backend) Plan
	// Close closes all sessions of the backend evenly over spread, each with
	// the cause, and returns how many.
	Close func(b *pool.Backend, cause session.Cause, p Plan, spread time.Duration) int
	// Move has the sessions of the backend given others, evenly over spread,
	// as far as their pool allows that, and returns of how many it will be
	// tried. Those of which it fails stay, and are Close's in the end.
	Move func(b *pool.Backend, spread time.Duration) int
	// Keep takes back what Close has not begun yet.
	Keep func(*pool.Backend)
	// Clock is what goes for time; nil means the system's.
	Clock clock.Clock
}

// Drainer empties backends. All methods may be called from anywhere, and none
// blocks but Close.
type Drainer struct {
	o       Options
	running sync.WaitGroup

	mu      sync.Mutex // guards the following
	drains  map[*pool.Backend]*drain
	ending  map[*pool.Backend]*drain        // the last that was stopped, until it has ended
	timeout map[*pool.Backend]time.Duration // asked for with Drain, in place of the Plan's
	closed  bool
}

// drain is one backend being emptied.
//
//	             Plan.Timeout - Spread          Spread
//	(wanted) ───▶ waiting ────────────▶ closing ───────▶ over
//	                 │ no longer wanted    │
//	                 └──────────┬──────────┘
//	                            ▼
//	                   what is left stays
type drain struct {
	backend  *pool.Backend
	cause    session.Cause
	plan     Plan
	since    time.Time
	deadline time.Time
	loop     clock.Loop
	log      *slog.Logger
	stopped  bool        // it is no longer wanted; guarded by Drainer.mu
	next     *drain      // of the same backend, to begin when this one has ended; guarded likewise
	came     atomic.Bool // a session has come since Move was last called

	// The loop's own.
	begun, empty, closing bool
	sweep                 time.Time // what came late is closed after it
}

// New makes a Drainer; Close ends it.
func New(o Options) *Drainer {
	o.Clock = clock.Or(o.Clock)
	return &Drainer{o: o, drains: map[*pool.Backend]*drain{}, ending: map[*pool.Backend]*drain{}, timeout: map[*pool.Backend]time.Duration{}}
}

// Drain has b emptied on somebody's request. timeout below 0 means the Plan's.
// Asked again while b is being emptied, it begins anew.
func (d *Drainer) Drain(b *pool.Backend, timeout time.Duration, reason string) {
	d.mu.Lock()
	d.end(b)
	if timeout >= 0 {
		d.timeout[b] = timeout
	}
	d.mu.Unlock()
	b.SetAdmin(pool.Drain, reason)
	d.Look(b)
}

// Undrain has b take sessions again, as far as that was Drain's doing.
func (d *Drainer) Undrain(b *pool.Backend, reason string) {
	b.SetAdmin(pool.Ready, reason)
	d.Look(b)
}

// Look begins or ends the drain of b by what b's state is now. It is to be
// called after every change of that.
func (d *Drainer) Look(b *pool.Backend) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wanted := wanted(b)
	switch under := d.drains[b]; {
	case d.closed, wanted == (under != nil):
	case wanted:
		d.begin(b)
	default:
		d.end(b)
	}
}

func wanted(b *pool.Backend) bool {
	return b.Removed() || b.Admin() != pool.Ready || b.Operational() == pool.Draining
}

// Came tells that a session has just come to b. Where it was on its way there
// when a drain of b began, it is moved like the others; what can't be moved is
// closed with them. It may be called from any goroutine, and doesn't block.
func (d *Drainer) Came(b *pool.Backend) {
	if !wanted(b) {
		return // a drain that begins now will see it
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if dr := d.drains[b]; dr != nil {
		dr.came.Store(true)
	}
}

// begin is called with mu held.
func (d *Drainer) begin(b *pool.Backend) {
	plan := d.o.Plan(b)
	if timeout, ok := d.timeout[b]; ok {
		plan.Timeout, plan.Spread = timeout, min(plan.Spread, timeout)
	}
	now := d.o.Clock.Now()
	dr := &drain{backend: b, cause: session.BackendDrained, plan: plan,
		since: now, deadline: now.Add(plan.Timeout), sweep: now.Add(plan.Timeout),
		log: d.o.Log.With("pool", b.Pool, "backend", b.Name)}
	dr.loop = d.o.Clock.Loop(func() (time.Duration, bool) { return d.step(dr) })
	if b.Removed() {
		dr.cause = session.BackendRemoved
	}
	d.drains[b] = dr
	d.running.Add(1)
	if before := d.ending[b]; before != nil {
		before.next = dr
		return
	}
	dr.loop.Start()
}

// end is called with mu held.
func (d *Drainer) end(b *pool.Backend) {
	delete(d.timeout, b)
	if dr := d.drains[b]; dr != nil {
		dr.stopped = true
		dr.loop.Nudge()
		delete(d.drains, b)
		d.ending[b] = dr
	}
}

// poll is how often a backend being emptied is looked at.
const poll = 200 * time.Millisecond

// step is one look at dr, by its loop.
func (d *Drainer) step(dr *drain) (wait time.Duration, more bool) {
	b, now := dr.backend, d.o.Clock.Now()
	stopped, closed := d.isStopped(dr)
	if stopped {
		if dr.begun {
			if !closed {
				d.o.Keep(b)
			}
			dr.log.Info("a backend is no longer being emptied", "sessions", b.Sessions())
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
	if dr.came.Swap(false) {
		d.o.Move(b, 0)
	}
	left := dr.deadline.Sub(now)
	switch {
	case b.Sessions() == 0 && b.Removed():
		d.forget(dr)
		d.finish(dr)
		return 0, false
	case b.Sessions() == 0:
		// It may not be for good: a handshake that chose it a moment
		// before the drain began can still take its lease.
		if !dr.empty {
			dr.empty = true
			dr.log.Info("a backend is empty", "after", now.Sub(dr.since).Round(time.Millisecond).String())
		}
	case !dr.closing && left <= dr.plan.Spread:
		dr.closing = true
		n := d.o.Close(b, dr.cause, dr.plan, max(left, 0))
		dr.log.Info("the sessions of a backend are being closed", "sessions", n, "spread", max(left, 0).String())
	case dr.closing && now.After(dr.sweep):
		// Handshakes that were under way when the closes were planned.
		dr.sweep = now.Add(time.Second)
		d.o.Close(b, dr.cause, dr.plan, 0)
	}
	return poll, true
}

// isStopped tells whether dr is no longer wanted, and whether nothing is any
// more.
func (d *Drainer) isStopped(dr *drain) (stopped, closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return dr.stopped, d.closed
}

func (d *Drainer) forget(dr *drain) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.drains[dr.backend] == dr {
		delete(d.drains, dr.backend)
		delete(d.timeout, dr.backend)
	}
}

// finish is dr's end. What it took back was not to be what the next one asks
// for, so that begins only now.
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

// State is one drain.
type State struct {
	Backend  *pool.Backend
	Since    time.Time
	Deadline time.Time
}

// States lists what is being emptied, or is empty and to stay so, by backend
// ID.
func (d *Drainer) States() []State {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []State
	for b, dr := range d.drains {
		all = append(all, State{b, dr.since, dr.deadline})
	}
	slices.SortFunc(all, func(a, b State) int { return cmp.Compare(a.Backend.ID, b.Backend.ID) })
	return all
}

// Close ends all drains, leaving sessions as they are, and waits for that.
func (d *Drainer) Close() {
	d.mu.Lock()
	d.closed = true
	for b := range d.drains {
		d.end(b)
	}
	d.mu.Unlock()
	d.running.Wait()
}

package pool

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Operational is a backend's state as health checks see it.
//
//	 joins a pool with checks          checks pass
//	───────────────────────▶ Warming ───────────────▶ Up ◀── joins without checks
//	                          │   ▲                   │ ▲
//	               checks fail│   │one passes    503  │ │checks pass
//	                          ▼   │                   ▼ │
//	                          Down ◀──────────────── Draining
//	                               checks fail (from Up too)
type Operational uint8

const (
	// Up takes sessions.
	Up Operational = iota
	// Warming has joined or come back; its checks must pass first.
	Warming
	// Draining has answered a check with 503: it takes no new sessions, and
	// those it has go on.
	Draining
	// Down has failed its checks.
	Down
)

func (o Operational) String() string {
	return [...]string{"up", "warming", "draining", "down"}[o]
}

// Admin is the state that an operator, or the backend's agent, has set. It
// applies whatever the checks say.
type Admin uint8

const (
	// Ready leaves the decision to the checks.
	Ready Admin = iota
	// Drain takes no new sessions; those it has go on.
	Drain
	// Maint is like Drain, and its checks are expected to fail.
	Maint
)

func (a Admin) String() string { return [...]string{"ready", "drain", "maint"}[a] }

// Availability sums up both states and passive health for choosing a backend. The
// values are in order, from best to worst.
type Availability uint8

const (
	// Available takes sessions.
	Available Availability = iota
	// Ejected has failed handshakes and isn't used for a while. This is a
	// guess from traffic: it is ignored if no other backend is left.
	Ejected
	// Unhealthy is Down or Warming by its checks.
	Unhealthy
	// Unavailable takes no new sessions: it is draining, in maintenance, removed
	// from the configuration, has no address, or its list says so.
	Unavailable
)

// reasonKind says by what a backend's state was changed.
type reasonKind uint8

const (
	byChecks reasonKind = iota
	byAdmin
	byTraffic
	byList
	reasonKinds
)

// change is why and when a state last changed. The zero value: it never has.
type change struct {
	reason string
	since  time.Time
}

// status is the state of a backend, except for its leases and addresses. Every
// choice reads the atomics; changes are rare and made under mu.
type status struct {
	operational   atomic.Uint32
	admin         atomic.Uint32
	operated      atomic.Bool // see Operated
	listed        atomic.Uint32
	killAt        atomic.Int64 // Unix nanoseconds; 0 means unknown
	gone          atomic.Bool  // see Gone
	ejectedUntil  atomic.Int64 // Unix nanoseconds; 0 means not ejected
	slowStartFrom atomic.Int64 // Unix nanoseconds; 0 means no slow start
	upSince       atomic.Int64 // Unix nanoseconds; 0 means never
	slowStart     atomic.Int64 // its length, nanoseconds
	loadReduction atomic.Int32 // what the reported load takes off the share, of FullShare
	failureCount  atomic.Int32 // failed handshakes in a row that count
	changeCount   atomic.Uint64
	drainDeadline atomic.Int64 // Unix nanoseconds; 0 means none. See KeepsClients
	everOpened    atomic.Bool  // whether it has ever opened a session
	paths         pathSet      // on which it has opened sessions

	mu          sync.Mutex // guards the following, and changes of the above
	maxFails    int
	failTimeout time.Duration
	failures    failureRecord
	lastChange  [reasonKinds]change // the last change by each
	removedAt   time.Time           // when it last left the configuration
}

// Operational is the state that health checks found last.
func (b *Backend) Operational() Operational { return Operational(b.operational.Load()) }

// Admin is the state that was set last.
func (b *Backend) Admin() Admin { return Admin(b.admin.Load()) }

// Availability says whether new sessions may go to the backend. Whether it has room
// for them is up to TryAcquire.
func (b *Backend) Availability() Availability {
	switch {
	case b.removed.Load(), b.addresses.Load() == nil, b.Admin() != Ready, b.Listed() != ListedReady, b.Operational() == Draining:
		return Unavailable
	case b.Operational() != Up:
		return Unhealthy
	case b.ejected():
		return Ejected
	}
	return Available
}

// IsDraining reports whether the backend takes no new sessions while those it has
// go on, by its own wish, an operator's or its list's. It may be kept for clients that
// affinity binds to it, see KeepsClients.
func (b *Backend) IsDraining() bool { return b.serves() && b.Listed() != ListedUnready && b.emptied() }

// serves reports whether the sessions that the backend has can go on.
func (b *Backend) serves() bool {
	o := b.Operational()
	return !b.removed.Load() && b.addresses.Load() != nil && b.Admin() != Maint && (o == Up || o == Draining)
}

func (b *Backend) emptied() bool {
	return b.Admin() == Drain || b.Operational() == Draining || b.Listed() == ListedTerminating
}

// KeepsClients reports whether the backend is draining and its deadline has not
// passed, or its list says that it isn't ready: until then it may still take clients that
// affinity binds to it.
func (b *Backend) KeepsClients() bool {
	if !b.serves() || !b.emptied() && b.Listed() != ListedUnready {
		return false
	}
	until := b.drainDeadline.Load()
	return until == 0 || b.isBefore(until)
}

// SetDrainDeadline sets when the backend's drain ends; the zero time means never.
func (b *Backend) SetDrainDeadline(end time.Time) {
	if end.IsZero() {
		b.drainDeadline.Store(0)
		return
	}
	b.drainDeadline.Store(end.UnixNano())
}

// isBefore is a separate function so that ejected, which every choice calls for
// every backend, is inlined.
func (b *Backend) isBefore(until int64) bool { return b.registry.clock.Now().UnixNano() < until }

// SetOperational sets the state that a health check found, and why. A backend
// that comes Up from Warming or Down starts slowly, if its pool has a slow start.
// From Down to Up also ends an ejection: a check knows more than failed
// handshakes tell.
func (b *Backend) SetOperational(o Operational, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.Operational()
	if before == o {
		return
	}
	if o == Up && before != Draining {
		b.markUp(b.registry.clock.Now())
	}
	if o == Up && before == Down {
		b.clearFailures()
		b.ejectedUntil.Store(0)
	}
	b.operational.Store(uint32(o))
	level := slog.LevelInfo
	if o == Down {
		level = slog.LevelWarn
	}
	b.logChange(byChecks, level, o.String(), before.String(), reason)
}

// UpdateReason replaces the reason why the backend is in state o by its checks,
// if it still is and has a reason: other checks may find the same state for
// another reason.
func (b *Backend) UpdateReason(o Operational, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := &b.lastChange[byChecks]; b.Operational() == o && w.reason != "" {
		w.reason = reason
	}
}

// ClearChecks resets the state once the backend is no longer checked.
func (b *Backend) ClearChecks() {
	const reason = "it is no longer checked"
	b.SetOperational(Up, reason)
	b.UpdateReason(Up, reason)
}

// SetAdmin sets the administrative state for the backend's agent, and why. It replaces what
// an operator has set.
func (b *Backend) SetAdmin(a Admin, reason string) { b.setAdmin(a, false, reason) }

// Operate sets the administrative state for an operator, and why.
func (b *Backend) Operate(a Admin, reason string) { b.setAdmin(a, a != Ready, reason) }

// Operated reports whether the administrative state is one that an operator has set, other
// than Ready.
func (b *Backend) Operated() bool { return b.operated.Load() }

// InMaintenance reports whether an operator has set Maint. Then it isn't checked.
func (b *Backend) InMaintenance() bool { return b.Operated() && b.Admin() == Maint }

func (b *Backend) setAdmin(a Admin, operated bool, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.Admin()
	if before != a || operated {
		b.operated.Store(operated)
	}
	if before == a {
		return
	}
	b.admin.Store(uint32(a))
	b.logChange(byAdmin, slog.LevelInfo, a.String(), before.String(), reason)
}

// logChange records and logs a change of state. by may be reasonKinds, for
// none of them. mu must be held.
func (b *Backend) logChange(by reasonKind, level slog.Level, now, before, reason string) {
	if by < reasonKinds {
		b.lastChange[by] = change{reason, b.registry.clock.Now()}
	}
	b.changeCount.Add(1)
	b.registry.log.Log(context.Background(), level, fmt.Sprintf("backend %s is %s, was %s: %s", b.Name, now, before, reason),
		"pool", b.Pool, "backend", b.Name, "state", now, "was", before, "reason", reason)
	b.registry.onChange(b)
}

// markRemoved marks the backend as no longer configured. othersStay says that its pool
// has other backends.
func (b *Backend) markRemoved(othersStay bool) {
	b.mu.Lock()
	b.removedAt = b.registry.clock.Now()
	b.gone.Store(othersStay && b.Listed() == ListedTerminating)
	b.removed.Store(true)
	b.mu.Unlock()
}

// restore makes a removed backend configured again. If it has no sessions, it may
// have been restarted since, so the results of its checks are dropped.
func (b *Backend) restore() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.leases.Load() == 0 {
		b.operational.Store(uint32(Up))
	}
	b.gone.Store(false)
	b.removed.Store(false)
}

// logReturn logs that a removed backend is back.
func (b *Backend) logReturn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	away := b.registry.clock.Now().Sub(b.removedAt).Round(time.Millisecond)
	by := byTraffic
	if b.stateName() != "up" {
		by = reasonKinds // there is another reason for its state
	}
	b.logChange(by, slog.LevelInfo, b.stateName(), "removed", fmt.Sprintf("it is back after %v", away))
}

// configure applies its pool's settings to a backend. joins says that it is new in
// a pool that had others.
func (b *Backend) configure(s *Spec, joins bool) {
	b.mu.Lock()
	b.slowStart.Store(int64(s.SlowStart))
	b.maxFails, b.failTimeout = s.MaxFails, s.FailTimeout
	if s.MaxFails == 0 {
		b.clearFailures()
		if b.ejectedUntil.Swap(0) != 0 {
			b.slowStartFrom.Store(0)
			b.logChange(byTraffic, slog.LevelInfo, b.stateName(), "ejected", "failures no longer count: max_fails is 0")
		}
	}
	if s.SlowStart == 0 {
		b.slowStartFrom.Store(0)
	}
	if joins && !s.Checked {
		b.markUp(b.registry.clock.Now())
	}
	b.mu.Unlock()
	switch {
	case joins && s.Checked:
		b.SetOperational(Warming, "it joined; its checks must pass first")
	case !s.Checked:
		// No check will ever replace what the last one found. The
		// administrative state is left to whoever set it.
		b.ClearChecks()
		b.SetLoad(1)
	}
}

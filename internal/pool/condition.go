package pool

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Operational is what health checks found a backend to be.
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
	// Warming has joined or come back; its checks have yet to pass.
	Warming
	// Draining has answered a check with 503: no new sessions, those it has
	// go on.
	Draining
	// Down has failed its checks.
	Down
)

func (o Operational) String() string {
	return [...]string{"up", "warming", "draining", "down"}[o]
}

// Admin is what whoever runs the backend wants of it, whatever its checks say.
type Admin uint8

const (
	// Ready leaves it to the checks.
	Ready Admin = iota
	// Drain: no new sessions, those it has go on.
	Drain
	// Maint: the same, and its failing checks are expected.
	Maint
)

func (a Admin) String() string { return [...]string{"ready", "drain", "maint"}[a] }

// Fitness is what both axes, and the traffic, come to for one that chooses.
type Fitness uint8

const (
	// Fit takes sessions.
	Fit Fitness = iota
	// Ejected has failed handshakes and is left alone for a while: a guess
	// from traffic, to be ignored rather than leave a pool empty.
	Ejected
	// Unfit is Down or Warming by its checks.
	Unfit
	// Closed takes no new sessions: it drains, is in maintenance, has left
	// the configuration, or has no address.
	Closed
)

// FullShare is a Share of the whole weight.
const FullShare = 1024

// condition is what is known of a backend beside its leases and addresses.
// The atomics are read by every choice; changes are rare and made under mu.
type condition struct {
	operational  atomic.Uint32
	admin        atomic.Uint32
	ejectedUntil atomic.Int64 // Unix nanoseconds; 0 is not ejected
	rampFrom     atomic.Int64 // Unix nanoseconds; 0 is not ramping
	risen        atomic.Int64 // Unix nanoseconds; 0 is never
	slowStart    atomic.Int64 // nanoseconds
	lost         atomic.Int32 // of FullShare: what its reported load takes away
	failures     atomic.Int32 // handshakes failed in a row
	changes      atomic.Uint64

	mu          sync.Mutex // guards the following and who changes the above
	maxFails    int
	failTimeout time.Duration
	failedSince time.Time // the first of failures
	reason      string    // of the last change
	since       time.Time
}

// Operational is what its checks found last.
func (b *Backend) Operational() Operational { return Operational(b.operational.Load()) }

// Admin is what is wanted of it.
func (b *Backend) Admin() Admin { return Admin(b.admin.Load()) }

// Fitness tells whether new sessions may go to the backend. Whether it has
// room for one is TryAcquire's to say.
func (b *Backend) Fitness() Fitness {
	switch {
	case b.removed.Load(), b.answer.Load() == nil, b.Admin() != Ready, b.Operational() == Draining:
		return Closed
	case b.Operational() != Up:
		return Unfit
	case b.ejected():
		return Ejected
	}
	return Fit
}

// Drains tells that the backend takes no new sessions and those it has go on,
// because it or somebody else wants that. It may be kept for clients that
// belong to it.
func (b *Backend) Drains() bool {
	if b.removed.Load() || b.answer.Load() == nil {
		return false
	}
	o := b.Operational()
	return b.Admin() == Drain && (o == Up || o == Draining) || b.Admin() == Ready && o == Draining
}

func (b *Backend) ejected() bool {
	until := b.ejectedUntil.Load()
	return until != 0 && b.isBefore(until)
}

// isBefore is apart so that ejected, which every choice asks of every backend,
// is inlined.
func (b *Backend) isBefore(until int64) bool { return b.registry.clock.Now().UnixNano() < until }

// Share is how much of its weight the backend is to have now, of FullShare and
// at least 1: less while its slow start lasts, and with the load it reports.
func (b *Backend) Share() uint32 {
	share := FullShare - int64(b.lost.Load())
	if from := b.rampFrom.Load(); from != 0 {
		elapsed, ramp := b.registry.clock.Now().UnixNano()-from, b.slowStart.Load()
		switch {
		case elapsed < 0:
			// It is ejected until then. One that is asked nevertheless,
			// because hardly any other is left, is to have its part.
		case elapsed >= ramp:
			b.rampFrom.CompareAndSwap(from, 0)
		default:
			// In thousandths, lest the product passes 63 bits.
			share = share * (elapsed / 1000) / (ramp/1000 + 1)
		}
	}
	return uint32(max(share, 1))
}

// Risen is when the backend last joined a pool that had others, came up or was
// taken back after it was ejected: when it may have just started, and be cold.
// While it is ejected it is when that will be over. The zero time is never.
func (b *Backend) Risen() time.Time {
	if at := b.risen.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// SetOperational says what a health check found, and why. One that comes Up
// from Warming or Down gets its share slowly, where the pool has a slow start.
// From Down to Up is also the end of an ejection: what failed handshakes told
// of has been, and a check knows better than a guess.
func (b *Backend) SetOperational(o Operational, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.Operational()
	if before == o {
		return
	}
	if o == Up && before != Draining {
		b.ramp(b.registry.clock.Now())
	}
	if o == Up && before == Down {
		b.failures.Store(0)
		b.ejectedUntil.Store(0)
	}
	b.operational.Store(uint32(o))
	level := slog.LevelInfo
	if o == Down {
		level = slog.LevelWarn
	}
	b.changed(level, o.String(), before.String(), reason)
}

// SetAdmin says what is wanted of the backend, and why.
func (b *Backend) SetAdmin(a Admin, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.Admin()
	if before == a {
		return
	}
	b.admin.Store(uint32(a))
	b.changed(slog.LevelInfo, a.String(), before.String(), reason)
}

// SetLoad says how much of its weight the backend can carry now, from 0 to 1,
// by its own account. What isn't a number changes nothing.
func (b *Backend) SetLoad(capacity float64) {
	if math.IsNaN(capacity) {
		return
	}
	capacity = min(max(capacity, 0), 1)
	b.lost.Store(FullShare - int32(capacity*FullShare))
}

// HandshakeOK notes that the backend answered a handshake. One that was
// ejected is taken back at once.
func (b *Backend) HandshakeOK() {
	if b.failures.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures.Store(0)
	now := b.registry.clock.Now()
	if until := b.ejectedUntil.Swap(0); until != 0 {
		if now.UnixNano() < until {
			b.ramp(now)
		}
		b.changed(slog.LevelInfo, b.word(), "ejected", "a handshake succeeded")
	}
}

// HandshakeFailed notes that it refused, broke or didn't answer a handshake.
// The pool's number of such in a row, within its fail timeout, has the backend
// left alone for as long; after that one more is enough.
func (b *Backend) HandshakeFailed(reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.maxFails == 0 || b.ejected() {
		return
	}
	now := b.registry.clock.Now()
	failures := int(b.failures.Load()) + 1
	if failures == 1 || failures <= b.maxFails && now.Sub(b.failedSince) > b.failTimeout {
		failures, b.failedSince = 1, now
	}
	b.failures.Store(int32(min(failures, b.maxFails)))
	if failures < b.maxFails {
		return
	}
	until, before := now.Add(b.failTimeout), b.word()
	b.ejectedUntil.Store(until.UnixNano())
	b.ramp(until)
	b.registry.clock.AfterFunc(b.failTimeout, func() { b.ejectionEnds(until) })
	b.changed(slog.LevelWarn, "ejected", before,
		fmt.Sprintf("%d handshakes in a row failed, the last: %s; left alone for %v", failures, reason, b.failTimeout))
}

// ejectionEnds tells that the ejection up to until has run out, unless it ended
// otherwise before.
func (b *Backend) ejectionEnds(until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ejectedUntil.CompareAndSwap(until.UnixNano(), 0) && !b.removed.Load() {
		b.changed(slog.LevelInfo, b.word(), "ejected", "its time is over: it is tried again")
	}
}

// ramp notes that it rises at the given time, which begins a slow start where
// the pool has one. Under mu.
func (b *Backend) ramp(from time.Time) {
	b.risen.Store(from.UnixNano())
	if b.slowStart.Load() > 0 {
		b.rampFrom.Store(from.UnixNano())
	}
}

// changed tells of a change. Under mu.
func (b *Backend) changed(level slog.Level, now, before, reason string) {
	b.reason, b.since = reason, b.registry.clock.Now()
	b.changes.Add(1)
	b.registry.log.Log(context.Background(), level, fmt.Sprintf("backend %s is %s, was %s: %s", b.Name, now, before, reason),
		"pool", b.Pool, "backend", b.Name, "state", now, "was", before, "reason", reason)
	b.registry.told(b)
}

// adjust takes over what its pool says about a backend. joins tells that it is
// new in a pool that had others.
func (b *Backend) adjust(s *Spec, joins bool) {
	b.mu.Lock()
	b.slowStart.Store(int64(s.SlowStart))
	b.maxFails, b.failTimeout = s.MaxFails, s.FailTimeout
	if s.MaxFails == 0 {
		b.failures.Store(0)
		if b.ejectedUntil.Swap(0) != 0 {
			b.rampFrom.Store(0)
			b.changed(slog.LevelInfo, b.word(), "ejected", "failures no longer count: max_fails is 0")
		}
	}
	if s.SlowStart == 0 {
		b.rampFrom.Store(0)
	}
	if joins && !s.Checked {
		b.ramp(b.registry.clock.Now())
	}
	b.mu.Unlock()
	switch {
	case joins && s.Checked:
		b.SetOperational(Warming, "it joined, its checks are yet to pass")
	case !s.Checked:
		// Nothing would ever take back what the last check found. What is
		// wanted of the backend is for whoever wants it to take back.
		b.SetOperational(Up, "it is no longer checked")
		b.SetLoad(1)
	}
}

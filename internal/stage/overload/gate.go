// Package overload bounds how many handshakes and sessions the process has at
// once, so that it refuses clients politely before it runs out of file
// descriptors.
//
// The spine calls Gate.Enter when a handshake begins. The Ticket it gets becomes
// a session, or is given back. The package knows nothing about pools and
// backends: their limits are in upstream/pool (sessions) and stage/ratelimit
// (handshakes per second).
package overload

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"

	"github.com/holdfast-ws/holdfast/internal/failure"
)

// Options are the limits.
type Options struct {
	// MaxSessions bounds sessions and handshakes together, including those
	// that wait in a queue, since each handshake may become a session. 0 means
	// as many as the file descriptors allow, see FromDescriptors.
	MaxSessions int
	// MaxHandshakes bounds handshakes alone. 0 means MaxSessions, but at most
	// 8,192: a handshake holds buffers that a session doesn't.
	MaxHandshakes int
	// PerAddress bounds the handshakes of one client address; an IPv6 client
	// counts by its /64. 0 means a quarter of MaxHandshakes, but at least 64.
	PerAddress int
}

// Errors of Enter.
var (
	ErrTooManyHandshakes = failure.New(failure.TooManyHandshakes, "too many handshakes at once")
	ErrTooManySessions   = failure.New(failure.TooManySessions, "too many sessions")
	ErrTooManyOfAddress  = failure.New(failure.TooManyOfAddress, "too many handshakes of one address at once")
	ErrStopping          = failure.New(failure.Stopping, "the balancer is stopping")
)

// Both counts and the flag of Stop share one word, so that they change together
// and no limit is exceeded even for a moment.
const (
	oneSession   = 1
	oneHandshake = 1 << 31
	stopping     = 1 << 62
	countMask    = oneHandshake - 1
	mostSessions = 1 << 30
)

// Gate counts handshakes and sessions. It is safe for concurrent use and never
// blocks.
type Gate struct {
	maxSessions   uint64
	maxHandshakes uint64
	word          atomic.Uint64
	waiting       atomic.Int64 // counted as sessions in word
	clients       clientCounts

	refusedHandshakes atomic.Uint64
	refusedSessions   atomic.Uint64
	refusedStopping   atomic.Uint64
}

// New makes a Gate. Limits that are 0 are derived as described at Options.
func New(o Options) *Gate {
	if o.MaxSessions <= 0 {
		o.MaxSessions = FromDescriptors(descriptorLimit()).MaxSessions
	}
	o.MaxSessions = min(o.MaxSessions, mostSessions)
	if o.MaxHandshakes <= 0 {
		o.MaxHandshakes = defaultHandshakes(o.MaxSessions)
	}
	g := &Gate{maxSessions: uint64(o.MaxSessions), maxHandshakes: uint64(min(o.MaxHandshakes, o.MaxSessions))}
	g.clients.seed = maphash.MakeSeed()
	g.SetPerAddress(o.PerAddress)
	return g
}

// SetPerAddress changes Options.PerAddress for future handshakes.
func (g *Gate) SetPerAddress(n int) {
	if n <= 0 {
		n = perAddress(int(g.maxHandshakes))
	}
	g.clients.limit.Store(int64(n))
}

// Limits returns the limits in force, none of them 0.
func (g *Gate) Limits() Options {
	return Options{MaxSessions: int(g.maxSessions), MaxHandshakes: int(g.maxHandshakes), PerAddress: int(g.clients.limit.Load())}
}

// Enter begins a handshake from an address, or refuses it with
// ErrTooManyHandshakes, ErrTooManySessions, ErrTooManyOfAddress or ErrStopping.
// from may be the zero address if the client's isn't known yet, see
// Ticket.SetClient. The Ticket must be given back with Leave or turned into a
// session with Opened.
func (g *Gate) Enter(from netip.Addr) (Ticket, error) {
	t := Ticket{gate: g}
	if err := t.SetClient(from); err != nil {
		return Ticket{}, err
	}
	if err := g.enter(); err != nil {
		t.releaseClient()
		return Ticket{}, err
	}
	return t, nil
}

func (g *Gate) enter() error {
	for {
		w := g.word.Load()
		handshakes, sessions := counts(w)
		switch {
		case w&stopping != 0:
			g.refusedStopping.Add(1)
			return ErrStopping
		case handshakes+sessions >= g.maxSessions:
			g.refusedSessions.Add(1)
			return ErrTooManySessions
		case handshakes >= g.maxHandshakes:
			g.refusedHandshakes.Add(1)
			return ErrTooManyHandshakes
		}
		if g.word.CompareAndSwap(w, w+oneHandshake) {
			return nil
		}
	}
}

// Full reports whether Enter would fail with ErrTooManySessions now.
func (g *Gate) Full() bool {
	handshakes, sessions := counts(g.word.Load())
	return handshakes+sessions >= g.maxSessions
}

func counts(w uint64) (handshakes, sessions uint64) {
	return w / oneHandshake & countMask, w & countMask
}

// SessionEnded ends a session that Ticket.Opened began.
func (g *Gate) SessionEnded() {
	if _, sessions := counts(g.word.Add(^uint64(oneSession - 1))); sessions == countMask {
		panic("overload: SessionEnded without a session")
	}
}

// Stop makes Enter refuse everything from now on. Handshakes and sessions that
// are inside go on.
func (g *Gate) Stop() { g.word.Or(stopping) }

// Stopping reports whether Stop was called.
func (g *Gate) Stopping() bool { return g.word.Load()&stopping != 0 }

// Ticket is one handshake's place in the gate. It belongs to one goroutine or
// coroutine, and must not be copied once used: the copy would give the place
// back again.
type Ticket struct {
	gate    *Gate  // nil once given back, or moved
	waiting bool   // counted as a session
	client  uint64 // its key in clientCounts; 0 is none
	counted bool   // for client
}

// SetClient counts the handshake for the address it turns out to come from, if
// it isn't counted for one yet. If that address has too many, it returns
// ErrTooManyOfAddress and leaves the Ticket unchanged.
func (t *Ticket) SetClient(from netip.Addr) error {
	if t.gate == nil || t.client != 0 || !from.IsValid() {
		return nil
	}
	key := t.gate.clients.key(from)
	if !t.gate.clients.add(key, false) {
		return ErrTooManyOfAddress
	}
	t.client, t.counted = key, true
	return nil
}

// releaseClient gives back the place of the address.
func (t *Ticket) releaseClient() {
	if t.counted {
		t.gate.clients.counts.Remove(t.client)
		t.counted = false
	}
}

// Opened turns the handshake into a session; call SessionEnded when that ends.
// Leave does nothing after that, so it can be deferred.
func (t *Ticket) Opened() {
	if t.gate != nil {
		t.releaseClient()
		t.gate.word.Add(^uint64(oneHandshake - oneSession - 1))
		t.gate = nil
	}
}

// Wait turns the handshake into one that waits in a queue, and moves it to the
// Ticket it returns. It holds a descriptor and little memory, so it counts as a
// session rather than a handshake.
func (t *Ticket) Wait() Ticket {
	w := Ticket{gate: t.gate, waiting: true, client: t.client}
	if t.gate != nil {
		t.gate.waiting.Add(1)
	}
	t.Opened()
	return w
}

// Resume turns a waiting handshake into one under way, and moves it to the Ticket
// it returns. It never refuses: waiting handshakes resume at a limited rate, and
// may exceed MaxHandshakes and PerAddress.
func (t *Ticket) Resume() Ticket {
	h := Ticket{gate: t.gate, client: t.client}
	if t.gate != nil {
		if h.counted = h.client != 0; h.counted {
			t.gate.clients.add(h.client, true)
		}
		// In this order it is always counted as one or the other.
		t.gate.word.Add(oneHandshake - oneSession)
		t.gate.waiting.Add(-1)
		t.gate = nil
	}
	return h
}

// Leave ends a handshake that did not become a session. Calls after the first, or
// after Opened, do nothing.
func (t *Ticket) Leave() {
	switch {
	case t.gate == nil:
		return
	case t.waiting:
		t.gate.SessionEnded()
		t.gate.waiting.Add(-1)
	default:
		t.releaseClient()
		t.gate.word.Add(^uint64(oneHandshake - 1))
	}
	t.gate = nil
}

// Stats are a Gate's counters for the metrics.
type Stats struct {
	Handshakes int // inside now
	Sessions   int // inside now, including waiting handshakes
	Waiting    int // of Sessions

	// Refused since the start, by the error of Enter.
	RefusedHandshakes uint64
	RefusedSessions   uint64
	RefusedStopping   uint64
}

// Stats reads the counters. Handshakes and Sessions are from the same moment,
// Waiting from shortly before.
func (g *Gate) Stats() Stats {
	waiting := g.waiting.Load()
	handshakes, sessions := counts(g.word.Load())
	return Stats{
		Waiting:           int(waiting),
		Handshakes:        int(handshakes),
		Sessions:          int(sessions),
		RefusedHandshakes: g.refusedHandshakes.Load(),
		RefusedSessions:   g.refusedSessions.Load(),
		RefusedStopping:   g.refusedStopping.Load(),
	}
}

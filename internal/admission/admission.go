// Package admission bounds how many handshakes and sessions there are at once,
// so that the process says no politely before it runs out of descriptors.
package admission

import "sync/atomic"

// Options are the limits.
type Options struct {
	// MaxSessions bounds sessions and handshakes together, those that wait
	// too, since each handshake may become a session. 0 means what the descriptors allow,
	// see FromDescriptors.
	MaxSessions int
	// MaxHandshakes bounds handshakes alone. 0 means as MaxSessions, but at
	// most 8,192: a handshake holds buffers that a session doesn't.
	MaxHandshakes int
}

// Errors of Enter.
const (
	ErrTooManyHandshakes = refusal("too many handshakes at once")
	ErrTooManySessions   = refusal("too many sessions")
	ErrStopping          = refusal("the balancer is stopping")
)

type refusal string

func (e refusal) Error() string { return string(e) }

// Both counts and the mark of Stop live in one word, so that they change
// together and no limit is passed even for a moment.
const (
	oneSession   = 1
	oneHandshake = 1 << 31
	stopping     = 1 << 62
	countMask    = oneHandshake - 1
	mostSessions = 1 << 30
)

// Gate counts what is inside. It is safe for concurrent use and never blocks.
type Gate struct {
	maxSessions   uint64
	maxHandshakes uint64
	word          atomic.Uint64
	waiting       atomic.Int64 // counted as sessions in word

	refusedHandshakes atomic.Uint64
	refusedSessions   atomic.Uint64
	refusedStopping   atomic.Uint64
}

// New makes a Gate. Limits that are 0 are derived as Options says.
func New(o Options) *Gate {
	if o.MaxSessions <= 0 {
		o.MaxSessions = FromDescriptors(descriptorLimit()).MaxSessions
	}
	o.MaxSessions = min(o.MaxSessions, mostSessions)
	if o.MaxHandshakes <= 0 {
		o.MaxHandshakes = defaultHandshakes(o.MaxSessions)
	}
	return &Gate{maxSessions: uint64(o.MaxSessions), maxHandshakes: uint64(min(o.MaxHandshakes, o.MaxSessions))}
}

// Limits returns the limits in force, none of them 0.
func (g *Gate) Limits() Options {
	return Options{MaxSessions: int(g.maxSessions), MaxHandshakes: int(g.maxHandshakes)}
}

// Enter begins a handshake, or refuses it with ErrTooManyHandshakes,
// ErrTooManySessions or ErrStopping. The Ticket must be given back with Leave
// or become a session with Opened.
func (g *Gate) Enter() (Ticket, error) {
	for {
		w := g.word.Load()
		handshakes, sessions := counts(w)
		switch {
		case w&stopping != 0:
			g.refusedStopping.Add(1)
			return Ticket{}, ErrStopping
		case handshakes+sessions >= g.maxSessions:
			g.refusedSessions.Add(1)
			return Ticket{}, ErrTooManySessions
		case handshakes >= g.maxHandshakes:
			g.refusedHandshakes.Add(1)
			return Ticket{}, ErrTooManyHandshakes
		}
		if g.word.CompareAndSwap(w, w+oneHandshake) {
			return Ticket{gate: g}, nil
		}
	}
}

func counts(w uint64) (handshakes, sessions uint64) {
	return w / oneHandshake & countMask, w & countMask
}

// SessionEnded gives back what Ticket.Opened turned into a session.
func (g *Gate) SessionEnded() {
	if _, sessions := counts(g.word.Add(^uint64(oneSession - 1))); sessions == countMask {
		panic("admission: SessionEnded without a session")
	}
}

// Stop refuses all that comes from now on. What is inside goes on.
func (g *Gate) Stop() { g.word.Or(stopping) }

// Stopping tells whether Stop was called.
func (g *Gate) Stopping() bool { return g.word.Load()&stopping != 0 }

// Ticket is one handshake's place inside the gate. It belongs to one task and
// must not be copied once used: the copy would give the place back again.
type Ticket struct {
	gate    *Gate // nil once given back, or moved
	waiting bool  // counted as a session
}

// Opened turns the handshake into a session, whose end SessionEnded tells.
// Leave then does nothing, so that it can be deferred.
func (t *Ticket) Opened() {
	if t.gate != nil {
		t.gate.word.Add(^uint64(oneHandshake - oneSession - 1))
		t.gate = nil
	}
}

// Wait turns the handshake into one that waits in a queue, and moves it into
// the Ticket it returns. It holds a descriptor and hardly any memory, so it
// counts as a session does, and not as a handshake.
func (t *Ticket) Wait() Ticket {
	w := Ticket{gate: t.gate, waiting: true}
	if t.gate != nil {
		t.gate.waiting.Add(1)
	}
	t.Opened()
	return w
}

// GoOn turns one that waits into a handshake under way, and moves it into the
// Ticket it returns. Nobody is refused here: those that wait go on at a rate,
// and MaxHandshakes may be passed by them.
func (t *Ticket) GoOn() Ticket {
	h := Ticket{gate: t.gate}
	if t.gate != nil {
		// In this order, lest it is counted nowhere for a moment.
		t.gate.word.Add(oneHandshake - oneSession)
		t.gate.waiting.Add(-1)
		t.gate = nil
	}
	return h
}

// Leave ends a handshake that came to nothing. Calls after the first, or after
// Opened, do nothing.
func (t *Ticket) Leave() {
	switch {
	case t.gate == nil:
		return
	case t.waiting:
		t.gate.SessionEnded()
		t.gate.waiting.Add(-1)
	default:
		t.gate.word.Add(^uint64(oneHandshake - 1))
	}
	t.gate = nil
}

// Stats are a Gate's counters for the metrics.
type Stats struct {
	Handshakes int // inside now
	Sessions   int // inside now, with the handshakes that wait
	Waiting    int // of Sessions

	// Refused since the start, by the error of Enter.
	RefusedHandshakes uint64
	RefusedSessions   uint64
	RefusedStopping   uint64
}

// Stats reads the counters. Handshakes and Sessions are of one moment, and
// Waiting of one shortly before.
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

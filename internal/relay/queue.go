package relay

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/holdfast-ws/holdfast/internal/retry"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// maxConnecting is how many sessions of a reattach queue may search for a backend
// at once: of a loop, or of the whole portable engine. It bounds the tasks,
// buffers and descriptors that the loss of a backend with thousands of sessions
// takes, and the simultaneous handshakes of the other backends. By BenchmarkLoss,
// 64 are as fast as any number if a handshake costs only processor time. The rest
// is for slow backends: if a handshake takes 100 ms, 1,000 a second go through
// 128, and 2,500 through 256.
const maxConnecting = 256

// queueState is where a session is that must search for another backend.
//
//	           Reserve: now                       its turn
//	notQueued ───────────────────────▶ inQueue ──────────────▶ awaitingBoundary or
//	 ▲  │ Reserve: after a delay                               connecting, notQueued
//	 │  └────────────────────────────▶ delayed ◀──────────────────────┘
//	 └───────── the delay is over ────────┘     none now, after a loss
type queueState uint8

const (
	notQueued queueState = iota
	delayed
	inQueue
)

// beginMove begins a requested move.
func (r *record) beginMove(now eventloop.Tick) {
	r.enter(queued)
	r.failure, r.requestAt = session.ReattachFailed, 0
	r.plan &^= tooLate | cutShort
	r.deadline = now + r.moveTimeout
}

// reserved is called with the delay that Reserve wants. It reports whether the
// session must be put into the reattach queue now.
func (r *record) reserved(m *move, d time.Duration, now eventloop.Tick) bool {
	m.from, m.why, m.waitBy = r.phase, r.plan.why(), r.deadline
	if d <= 0 {
		m.queue = inQueue
		return true
	}
	m.queue = delayed
	r.deadline = min(r.deadline, now+max(1, eventloop.Ticks(d)))
	return false
}

// pause is how long a session waits before it searches again.
func pause(sinceLoss eventloop.Tick) eventloop.Tick {
	return eventloop.Ticks(retry.Pause(sinceLoss.Duration(), rand.Float64()))
}

// noneFound is called with the Reattacher's reason for finding no backend. If the
// session has lost its own and the reason is Retryable, it searches again after a
// pause.
func (r *record) noneFound(m *move, err error, now eventloop.Tick, t ticks) {
	first := r.phase == awaitingBoundary && m.err == nil // Reserve has failed
	if r.phase == awaitingBoundary {
		m.waitBy = r.deadline
	}
	var retryable Retryable
	switch m.err = err; {
	case !errors.As(err, &retryable):
		r.moveFailed(now, t)
	case r.plan.why() != session.Loss || now >= m.waitBy:
		m.err = retryable.Err
		r.moveFailed(now, t)
	default:
		if first {
			r.countMove()
		}
		r.enter(awaitingBoundary)
		m.queue = delayed
		m.from, m.why = r.phase, session.Loss
		r.deadline = min(m.waitBy, now+pause(now+r.moveTimeout-m.waitBy))
	}
}

// left is how long the session may search for a backend: each move has its full
// time from its turn on, but further searches only what is left since the loss.
func (r *record) left(m *move, now eventloop.Tick) eventloop.Tick {
	switch {
	case m.until != 0:
		return max(m.until, now) - now
	case m.err == nil:
		return r.moveTimeout
	}
	return max(m.waitBy, now) - now
}

// delayOver ends the delay of a queued session if its time has passed. It is
// called before expired.
func (r *record) delayOver(m *move, now eventloop.Tick) {
	if m.queue == delayed && now >= r.deadline && r.phase <= awaitingBoundary {
		m.queue, r.deadline = notQueued, m.waitBy
	}
}

// dequeue is called at the session's turn in the reattach queue. It reports whether
// the session searches for a backend now. If not, it doesn't need to, or can't
// yet.
func (r *record) dequeue(m *move, now eventloop.Tick, t ticks) bool {
	if m.queue != inQueue {
		return false
	}
	m.queue = notQueued
	if r.phase == queued {
		r.enter(awaitingBoundary)
		m.turned = true
		r.deadline = now + t.boundary
		r.hold()
	}
	return r.maySearch()
}

// maySearch reports whether the session may search for another backend now.
func (r *record) maySearch() bool {
	c, b := &r.sides[session.Client], &r.sides[session.Backend]
	switch {
	case r.phase != awaitingBoundary:
		return false
	case r.plan.why() == session.Loss:
		return true
	case b.flags&(writeClosed|isClosed) == writeClosed:
		return false // it is lost, as reading will show
	}
	return c.flags&readPaused != 0 && drained(b)
}

// reattachQueue has the sessions, named by an S each, that wait to search for
// another backend. A session that no longer needs its turn stays in it until then.
type reattachQueue[S any] struct {
	ahead, others fifo[S] // those whose clients are paused come first
	searching     int     // how many search
}

func (l *reattachQueue[S]) join(s S, ahead bool) {
	if ahead {
		l.ahead.push(s)
	} else {
		l.others.push(s)
	}
}

// next returns the session whose turn it is, and counts it as searching, unless
// too many are already.
func (l *reattachQueue[S]) next() (s S, ok bool) {
	if l.searching >= maxConnecting {
		return s, false
	}
	if s, ok = l.ahead.pop(); !ok {
		s, ok = l.others.pop()
	}
	if ok {
		l.searching++
	}
	return s, ok
}

// leave is for a session that no longer searches. It reports whether another one
// waits.
func (l *reattachQueue[S]) leave() bool {
	l.searching--
	return l.waits()
}

func (l *reattachQueue[S]) waits() bool { return len(l.ahead.all)+len(l.others.all) > 0 }

// fifo is a queue. Empty, it has no memory.
type fifo[S any] struct{ all []S }

func (f *fifo[S]) push(s S) { f.all = append(f.all, s) }

func (f *fifo[S]) pop() (s S, ok bool) {
	if len(f.all) == 0 {
		return s, false
	}
	s, f.all[0] = f.all[0], s
	if f.all = f.all[1:]; len(f.all) == 0 {
		f.all = nil
	}
	return s, true
}

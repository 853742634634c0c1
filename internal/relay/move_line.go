package relay

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// maxSeeking is how many sessions of a line may look for a backend at once: of
// a loop, or of the whole portable engine. The loss of a backend with thousands
// of them costs no more tasks, buffers and descriptors than that, and the others
// no more handshakes at once. By BenchmarkLoss, 64 are as fast as any number
// where a handshake costs nothing but processor time. The rest is for backends
// that take long: with 100 ms, 1,000 a second go through 128, and 2,500 through
// 256.
const maxSeeking = 256

// place is where a session stands that is to look for another backend.
//
//	         the Mover lets it go                 its turn
//	apart ──────────────────────────▶ inLine ─────────────────▶ turning or
//	 ▲  │ the Mover has it wait                                 seeking, apart
//	 │  └────────────────────────────▶ later ◀───────────────────────┘
//	 └──────── that time is over ────────┘     none now, after a loss
type place uint8

const (
	apart place = iota
	later
	inLine
)

// wait begins the move that an Order wants.
func (r *record) wait(now eventloop.Tick) {
	r.phase, r.failure, r.closeAt = waiting, session.ReattachFailed, 0
	r.plan &^= tooLate | cutShort
	r.forceAt = now + r.moveTimeout
}

// await is told of how long the Mover has the session wait. It reports whether
// the engine is to put it in its line now.
func (r *record) await(m *move, d time.Duration, now eventloop.Tick) bool {
	m.from, m.why, m.waitBy = r.phase, r.plan.why(), r.forceAt
	if d <= 0 {
		m.place = inLine
		return true
	}
	m.place = later
	r.forceAt = min(r.forceAt, now+max(1, eventloop.Ticks(d)))
	return false
}

// The pauses between the looks of a session for another backend begin with the
// least, and come to the most: half of the time since the loss, and each by
// chance up to half of itself more or less, so that those who have lost theirs
// in the same moment don't come in step.
const (
	leastPause = 250 * time.Millisecond
	mostPause  = time.Second
)

func pause(sinceLoss eventloop.Tick) eventloop.Tick {
	d := min(max(sinceLoss/2, eventloop.Ticks(leastPause)), eventloop.Ticks(mostPause))
	return d/2 + rand.N(d+1)
}

// noneFound is told why the Mover has no backend for the session. If it has lost
// its own, and another may be there in a moment, it waits for that moment.
func (r *record) noneFound(m *move, err error, now eventloop.Tick, t ticks) {
	first := r.phase == turning && m.err == nil // it was not even sought
	if r.phase == turning {
		m.waitBy = r.forceAt
	}
	var notNow NotNow
	switch m.err = err; {
	case !errors.As(err, &notNow):
		r.moveFailed(now, t)
	case r.plan.why() != session.Loss || now >= m.waitBy:
		m.err = notNow.Err
		r.moveFailed(now, t)
	default:
		if first {
			r.countMove()
		}
		r.phase, m.place = turning, later
		m.from, m.why = r.phase, session.Loss
		r.forceAt = min(m.waitBy, now+pause(now+r.moveTimeout-m.waitBy))
	}
}

// left is how long a backend may be looked for: each move has its time for it
// from its turn on, but to look again only what is left since the loss.
func (r *record) left(m *move, now eventloop.Tick) eventloop.Tick {
	if m.err == nil {
		return r.moveTimeout
	}
	return max(m.waitBy, now) - now
}

// waited is told that time has passed, before expired.
func (r *record) waited(m *move, now eventloop.Tick) {
	if m.place == later && now >= r.forceAt && r.phase <= turning {
		m.place, r.forceAt = apart, m.waitBy
	}
}

// call is for a session that has come to the head of the line and has a place.
// It reports whether it looks for a backend now; if not, it has no need of the
// place, or not yet.
func (r *record) call(m *move, now eventloop.Tick, t ticks) bool {
	if m.place != inLine {
		return false
	}
	m.place = apart
	if r.phase == waiting {
		r.phase, m.turned = turning, true
		r.forceAt = now + t.boundary
		r.hold()
	}
	return r.maySeek()
}

// maySeek: it stands where another backend can be looked for.
func (r *record) maySeek() bool {
	c, b := &r.half[session.Client], &r.half[session.Backend]
	switch {
	case r.phase != turning:
		return false
	case r.plan.why() == session.Loss:
		return true
	case b.flags&(isMuted|isClosed) == isMuted:
		return false // it is lost, as reading it is about to tell
	}
	return c.flags&isHeld != 0 && drained(b)
}

// line is who waits for a place among those that look for a backend: S stands
// for a session. Whoever has left it is still there until its turn.
type line[S any] struct {
	held, others fifo[S] // those whose clients are held come first
	taken        int     // places
}

func (l *line[S]) join(s S, held bool) {
	if held {
		l.held.push(s)
	} else {
		l.others.push(s)
	}
}

// next takes a place for whoever is first, as long as there are any.
func (l *line[S]) next() (s S, ok bool) {
	if l.taken >= maxSeeking {
		return s, false
	}
	if s, ok = l.held.pop(); !ok {
		s, ok = l.others.pop()
	}
	if ok {
		l.taken++
	}
	return s, ok
}

// leave gives a place back, and reports whether somebody waits for it.
func (l *line[S]) leave() bool {
	l.taken--
	return l.waits()
}

func (l *line[S]) waits() bool { return len(l.held.all)+len(l.others.all) > 0 }

// fifo is first come, first served. Empty, it has no memory.
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

package relay

import (
	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// ticks are Times as a record counts them.
type ticks struct{ linger, boundary eventloop.Tick }

func (t Times) ticks() ticks {
	return ticks{linger: eventloop.Ticks(t.Linger), boundary: eventloop.Ticks(t.Boundary)}
}

// due is when the record wants to be looked at next. Carrying bytes only ever
// makes it later, so that a timer need not be moved for every message: when it
// runs out, expired finds nothing to do and due says when to look again.
func (r *record) due(now eventloop.Tick, t ticks) eventloop.Tick {
	at := eventloop.Never
	if r.cause != session.None {
		at = r.moved + t.linger
		if r.waitsForBoundary() {
			at = min(at, r.forceAt)
		}
		return at
	}
	if r.phase != staying {
		if at = r.moveDue(t); r.phase == leaving {
			return at // all else waits until it is with its new backend
		}
	}
	if r.idle != 0 {
		at = min(at, r.moved+r.idle)
	}
	if r.endAt != 0 {
		at = min(at, r.endAt)
	}
	if r.closeAt != 0 && !r.postponed() {
		at = min(at, r.closeAt)
	}
	if r.interval != 0 {
		for s := range r.half {
			h := &r.half[s]
			if r.unheard(session.Side(s)) {
				continue
			}
			at = min(at, h.keepaliveDue(r))
			// The answer that may come meanwhile moves no timer either, and
			// timeout may be the longer of the two.
			if h.unanswered() {
				at = min(at, h.pingAt+((now-h.pingAt)/r.interval+1)*r.interval)
			}
		}
	}
	return at
}

func (r *record) waitsForBoundary() bool {
	return !r.forced && (r.half[0].flags|r.half[1].flags)&wantClose != 0
}

func (h *half) keepaliveDue(r *record) eventloop.Tick {
	if h.unanswered() {
		return h.pingAt + r.timeout
	}
	return max(h.lastIn, h.pingAt) + r.interval
}

// unanswered: nothing at all has come since the ping. Bytes that wait to be
// taken ask as much, where a ping has no place since they end inside a frame.
func (h *half) unanswered() bool {
	return (h.flags&isPinged != 0 || h.pending != 0) && h.lastIn < h.pingAt
}

// expired does what is due. taking reports whether a silent side has been
// taking bytes since the last look, which is a sign of life: a ping waits
// behind all that was sent before it.
func (r *record) expired(now eventloop.Tick, t ticks, taking func(session.Side) bool) {
	if r.cause != session.None {
		if r.waitsForBoundary() && now >= r.forceAt {
			r.forced = true
		}
		if now >= r.moved+t.linger {
			// A slow reader may take long over what is kept for it before
			// there is room for more.
			for s := range r.half {
				if r.half[s].pending != 0 && taking(session.Side(s)) {
					r.moved = now
					return
				}
			}
			r.lingered(now)
		}
		return
	}
	if r.phase != staying && r.moveExpired(now, t, taking) {
		return
	}
	if r.closeAt != 0 && now >= r.closeAt && r.phase == staying && r.plan&toMove != 0 {
		r.wait(now)
	}
	switch {
	case r.closeAt != 0 && now >= r.closeAt && !r.postponed():
		r.begin(r.half[session.Client].want, now, t.boundary)
		return
	case r.endAt != 0 && now >= r.endAt:
		r.begin(closeOrder{CodeGoingAway, TooOld, session.MaxLifetime}, now, t.boundary)
		return
	case r.idle != 0 && now >= r.moved+r.idle:
		r.begin(closeOrder{CodeGoingAway, Idle, session.IdleTimeout}, now, t.boundary)
		return
	}
	if r.interval == 0 {
		return
	}
	for i := range r.half {
		s, h := session.Side(i), &r.half[i]
		switch {
		case r.unheard(s), now < h.keepaliveDue(r):
		case !h.unanswered():
			h.flags |= wantPing
			h.pingAt = now
		case h.pending == 0 && r.half[s.Other()].pending != 0, taking(s):
			// A side that isn't read, since the other one doesn't take what
			// it sent before, can't be heard.
			h.pingAt = now
		default:
			if s == session.Backend && r.outlives() {
				r.bereave(session.BackendSilent, now)
			} else {
				r.end([2]session.Cause{session.ClientSilent, session.BackendSilent}[s], now)
			}
			r.lose(s, now)
			return
		}
	}
}

// postponed: closeAt waits for the end of the move that is under way.
func (r *record) postponed() bool { return r.phase != staying && r.plan&toMove != 0 }

// unheard: the side can't show that it lives.
func (r *record) unheard(s session.Side) bool {
	h := &r.half[s]
	return h.flags&isHeld != 0 || r.phase != staying && s == session.Backend && gone(h)
}

// moveDue is when a move wants to be looked at.
func (r *record) moveDue(t ticks) eventloop.Tick {
	switch r.phase {
	case waiting, turning, seeking:
		return r.forceAt
	case leaving:
		if gone(&r.half[session.Backend]) {
			return r.forceAt
		}
		return min(r.forceAt, r.moved+t.linger)
	}
	return eventloop.Never
}

// moveExpired does what is due for the move, and reports whether nothing else
// is to be done.
func (r *record) moveExpired(now eventloop.Tick, t ticks, taking func(session.Side) bool) bool {
	if now < r.moveDue(t) {
		return r.phase == leaving
	}
	b, c := &r.half[session.Backend], &r.half[session.Client]
	switch {
	case r.phase != leaving || gone(b):
		r.plan |= tooLate
		r.moveFailed(now, t)
	case c.pending != 0 && taking(session.Client):
		// The old backend isn't heard since the client is slow to take what
		// it said before.
		r.moved, r.forceAt = now, max(r.forceAt, now+t.linger)
	case c.pending != 0 && now < r.forceAt:
		r.moved = now
	case c.pending != 0:
		r.plan |= tooLate
		r.strand(now) // what the old backend may still have said would be missing
	default:
		r.forceAt = now + t.boundary // should the client be inside a message
		r.lose(session.Backend, now) // it does not answer our Close
	}
	return true
}

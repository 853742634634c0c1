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
	if r.idle != 0 {
		at = r.moved + r.idle
	}
	if r.endAt != 0 {
		at = min(at, r.endAt)
	}
	if r.closeAt != 0 {
		at = min(at, r.closeAt)
	}
	if r.interval != 0 {
		for s := range r.half {
			h := &r.half[s]
			at = min(at, h.keepaliveDue(r))
			// The answer that may come in time for the next ping moves no
			// timer either, and timeout may be the longer of the two.
			if next := h.pingAt + r.interval; h.unanswered() && next > now {
				at = min(at, next)
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
	switch {
	case r.closeAt != 0 && now >= r.closeAt:
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
		case now < h.keepaliveDue(r):
		case !h.unanswered():
			h.flags |= wantPing
			h.pingAt = now
		case h.pending == 0 && r.half[s.Other()].pending != 0, taking(s):
			// A side that isn't read, since the other one doesn't take what
			// it sent before, can't be heard.
			h.pingAt = now
		default:
			r.end([2]session.Cause{session.ClientSilent, session.BackendSilent}[s], now)
			r.lose(s, now)
			return
		}
	}
}

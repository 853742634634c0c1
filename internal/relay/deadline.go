package relay

import (
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// ticks are Times in the unit that records use, and the Tuning of the engine.
type ticks struct {
	linger, boundary, reply, probation eventloop.Tick
	*tuned
	sets *timeoutSets // of the driver's sessions, see forDriver
}

// forDriver are those of one driver, which has its own sessions.
func (t ticks) forDriver() ticks {
	t.sets = &timeoutSets{}
	return t
}

// timeoutsOf are those of a session.
func (t ticks) timeoutsOf(r *record) timeouts { return t.sets.of(r.timeouts) }

// tuned is Tuning. Sessions read it while it is changed.
type tuned struct {
	close        atomic.Uint32 // eventloop.Tick
	idleMessages atomic.Bool
	unsent       atomic.Int64
	backlog      atomic.Int64 // bytes
}

func (t Times) ticks() ticks {
	all := ticks{linger: eventloop.Ticks(t.Linger), boundary: eventloop.Ticks(t.Boundary), reply: eventloop.Ticks(t.Reply),
		probation: eventloop.Ticks(t.Probation), tuned: &tuned{}}
	all.close.Store(uint32(all.linger))
	return all
}

// Tune implements Engine.
func (t *tuned) Tune(by Tuning) {
	t.close.Store(uint32(eventloop.Ticks(by.CloseTimeout)))
	t.idleMessages.Store(by.IdleMessages)
	t.unsent.Store(int64(by.Unsent))
	t.backlog.Store(by.Backlog)
}

// due is when expired must be called next. Passing bytes on only ever makes it
// later, so the timer need not be set for every message: if it runs out too early,
// expired finds nothing to do, and due returns the next time.
func (r *record) due(now eventloop.Tick, t ticks) eventloop.Tick {
	at := eventloop.Never
	if r.cause != session.None {
		if _, ok := r.violator(); ok {
			return r.deadline + t.reply
		}
		at = r.lastProgress + r.patience(t)
		if r.waitsForBoundary() {
			at = min(at, r.deadline)
		}
		return at
	}
	if r.phase != idle {
		if at = r.moveDue(t); r.phase == drainingOld {
			return at // everything else waits for the new backend
		}
	}
	set := t.timeoutsOf(r)
	if set.idle != 0 && r.marks&isThrottled == 0 {
		at = min(at, r.quietSince(t)+set.idle)
	}
	if r.endAt != 0 {
		at = min(at, r.endAt)
	}
	if r.requestAt != 0 && !r.postponed() {
		at = min(at, r.requestAt)
	}
	if r.marks&isOpaque != 0 {
		return min(at, r.probesDue())
	}
	if set.interval != 0 {
		for s := range r.sides {
			h := &r.sides[s]
			if r.unheard(session.Side(s)) {
				continue
			}
			at = min(at, h.keepaliveDue(set))
			// An answer that comes meanwhile doesn't set the timer either,
			// and timeout may be longer than interval.
			if h.unanswered() {
				at = min(at, h.pingAt+((now-h.pingAt)/set.interval+1)*set.interval)
			}
		}
	}
	return at
}

// patience is how long a closing session may go on without progress. If a side has
// closed, the other one may take longer to answer: it may have to finish its work
// and send the results first. The end of a stream of opaque bytes is such a closing.
func (r *record) patience(t ticks) eventloop.Tick {
	if r.marks&isOpaque != 0 && r.cause != session.SlowConsumer && (r.sides[0].flags|r.sides[1].flags)&isLost == 0 {
		return eventloop.Tick(t.close.Load())
	}
	for i := range r.sides {
		h, o := &r.sides[i], &r.sides[1-i]
		if r.cause == closed[i] &&
			h.flags&(isLost|hasLingered) == 0 && o.flags&(isClosed|isEOF|isLost) == 0 {
			return eventloop.Tick(t.close.Load())
		}
	}
	return t.linger
}

// quietSince is the time from which timeouts.idle counts.
func (r *record) quietSince(t ticks) eventloop.Tick {
	if t.idleMessages.Load() {
		return r.lastProgress
	}
	return max(r.sides[0].lastIn, r.sides[1].lastIn)
}

// waitsForBoundary reports that a Close waits for the end of a message.
func (r *record) waitsForBoundary() bool {
	return r.marks&isForced == 0 && (r.sides[0].flags|r.sides[1].flags)&wantClose != 0
}

// keepaliveDue is when the side must be pinged, or its silence checked.
func (h *side) keepaliveDue(set timeouts) eventloop.Tick {
	if h.unanswered() {
		return h.pingAt + set.timeout
	}
	return max(h.lastIn, h.pingAt) + set.interval
}

// unanswered reports that nothing has come since the ping, or since a ping was
// impossible because bytes for the side are pending that end inside a frame: it
// must then take those.
func (h *side) unanswered() bool {
	return (h.flags&isPinged != 0 || h.asked != 0 || h.pending != 0) && h.lastIn < h.pingAt
}

// expired does what is due. taking reports whether a silent side has taken bytes
// since the last call. If so, it is alive: our ping waits behind everything that
// was sent before it.
func (r *record) expired(now eventloop.Tick, t ticks, taking func(session.Side) bool) {
	if r.cause != session.None {
		if s, ok := r.violator(); ok {
			if now >= r.deadline+t.reply {
				r.fail(s, now, now+t.boundary)
			}
			return
		}
		if r.waitsForBoundary() && now >= r.deadline {
			r.marks |= isForced
		}
		if now >= r.lastProgress+r.patience(t) {
			// A slow reader may take long for what is pending, unless that is why
			// the session ends.
			for s := range r.sides {
				if r.cause != session.SlowConsumer && r.sides[s].pending != 0 && taking(session.Side(s)) {
					r.lastProgress = now
					return
				}
			}
			r.lingered(now)
		}
		return
	}
	if r.phase != idle && r.moveExpired(now, t, taking) {
		return
	}
	if r.requestAt != 0 && now >= r.requestAt && r.phase == idle && r.plan&toMove != 0 {
		r.beginMove(now)
	}
	set := t.timeoutsOf(r)
	switch {
	case r.requestAt != 0 && now >= r.requestAt && !r.postponed() && r.closes[session.Client].cause == session.BackendDown:
		r.requestAt = 0
		r.backendFails(session.BackendDown, now)
		return
	case r.requestAt != 0 && now >= r.requestAt && !r.postponed():
		r.beginClose(r.closes[session.Client], now, t.boundary)
		return
	case r.endAt != 0 && now >= r.endAt && r.marks&byToken != 0:
		r.beginClose(plannedClose{CodePolicy, TokenExpired, session.TokenExpired}, now, t.boundary)
		return
	case r.endAt != 0 && now >= r.endAt:
		r.beginClose(plannedClose{CodeGoingAway, TooOld, session.MaxLifetime}, now, t.boundary)
		return
	case set.idle != 0 && r.marks&isThrottled == 0 && now >= r.quietSince(t)+set.idle:
		r.beginClose(plannedClose{CodeGoingAway, Idle, session.IdleTimeout}, now, t.boundary)
		return
	}
	if set.interval == 0 || r.marks&isOpaque != 0 {
		return
	}
	for i := range r.sides {
		s, h := session.Side(i), &r.sides[i]
		switch {
		case r.unheard(s), now < h.keepaliveDue(set):
		case !h.unanswered():
			h.flags |= wantPing
			h.pingAt = now
		case h.pending == 0 && r.sides[s.Other()].pending != 0, taking(s):
			// A side isn't read while the other one doesn't take what it sent
			// before.
			h.pingAt = now
		default:
			if s == session.Backend {
				r.backendFails(session.BackendSilent, now)
				return
			}
			r.end(session.ClientSilent, now)
			r.lose(s, now)
			return
		}
	}
}

// expireWithToken makes the session end when the client's token expires, if that is
// before its lifetime is over. A token that outlives every timeout (see
// eventloop.Ticks) ends nothing.
func (r *record) expireWithToken(at time.Time, now eventloop.Tick) {
	if at.IsZero() {
		return
	}
	left := max(1, eventloop.Ticks(time.Until(at)))
	if left < eventloop.MaxTicks && (r.endAt == 0 || now+left < r.endAt) {
		r.endAt = now + left
		r.marks |= byToken
	}
}

// backendFails gives up the backend, which may hang. The session goes on with another one,
// if it may, or ends with this cause.
func (r *record) backendFails(cause session.Cause, now eventloop.Tick) {
	if r.survivesLoss() {
		r.onBackendLost(cause, now)
	} else {
		r.end(cause, now)
	}
	r.lose(session.Backend, now)
}

// postponed reports that requestAt waits for the end of the current move.
func (r *record) postponed() bool { return r.phase != idle && r.plan&toMove != 0 }

// unheard reports that the side isn't read, so that it can't show that it is alive.
func (r *record) unheard(s session.Side) bool {
	h := &r.sides[s]
	return h.flags&readPaused != 0 || r.isThrottling(s) || r.phase != idle && s == session.Backend && readClosed(h)
}

// moveDue is when moveExpired must be called.
func (r *record) moveDue(t ticks) eventloop.Tick {
	switch r.phase {
	case queued, onProbation, awaitingBoundary, connecting:
		return r.deadline
	case drainingOld:
		if readClosed(&r.sides[session.Backend]) || r.notified() {
			return r.deadline
		}
		return min(r.deadline, r.lastProgress+t.linger)
	}
	return eventloop.Never
}

// moveExpired does what is due for the move, and reports whether the rest of
// expired must wait.
func (r *record) moveExpired(now eventloop.Tick, t ticks, taking func(session.Side) bool) bool {
	if now < r.moveDue(t) {
		return r.phase == drainingOld
	}
	b, c := &r.sides[session.Backend], &r.sides[session.Client]
	switch {
	case r.phase == onProbation:
		r.abortMove() // the backend has kept the session
	case r.phase != drainingOld || readClosed(b):
		r.plan |= tooLate
		r.moveFailed(now, t)
	case r.notified():
		r.closeOld(now) // its time is over
	case c.pending != 0 && taking(session.Client):
		// The old backend isn't read while the client is slow to take what it
		// sent before.
		r.lastProgress, r.deadline = now, max(r.deadline, now+t.linger)
	case c.pending != 0 && now < r.deadline:
		r.lastProgress = now
	case c.pending != 0:
		r.plan |= tooLate
		r.closeOrphan(now) // otherwise what the old backend may still have sent would be missing
	default:
		r.deadline = now + t.boundary // if the client is inside a message
		r.lose(session.Backend, now)  // it doesn't answer our Close
	}
	return true
}

package relay

import (
	"cmp"
	"time"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// end sets the cause, if there is none yet: the first one stays.
func (r *record) end(cause session.Cause, now eventloop.Tick) {
	if r.cause == session.None {
		r.cause = cause
		r.moved = now
		r.closeAt = 0
		r.quit()
	}
}

// sendClose asks for a Close frame to s, unless it had one or can't have one.
func (r *record) sendClose(s session.Side, code uint16, reason Reason, forceAt eventloop.Tick) {
	h := &r.half[s]
	if h.flags&(isMuted|isLost|wantClose) != 0 {
		return
	}
	h.flags |= wantClose
	h.want = closeOrder{code: code, reason: reason}
	r.forceAt = forceAt
}

// closeCame: the Close frame of s has been walked and goes on to the other
// side, as the last frame there.
func (r *record) closeCame(s session.Side, now eventloop.Tick) {
	h, o := &r.half[s], &r.half[s.Other()]
	h.flags |= isClosed | isDeaf
	if r.cause == session.None {
		r.code = h.walker.CloseCode()
	}
	r.end([2]session.Cause{session.ClientClosed, session.BackendClosed}[s], now)
	if s == session.Client && o.flags&isLost != 0 {
		// Nobody else is there to answer it: the session was being moved.
		r.sendClose(s, cmp.Or(r.code, CodeServiceRestart), NoReason, now+1)
	}
	o.flags = o.flags&^(wantClose|wantPing) | isMuted
}

// broke: s violated RFC 6455. §7.1.7 wants its connection failed.
func (r *record) broke(s session.Side, now eventloop.Tick) {
	r.half[s].flags |= isDeaf
	r.end([2]session.Cause{session.ClientProtocol, session.BackendProtocol}[s], now)
	r.ours = true
	// It is not heard any more, so its connection is shut too, and read on
	// until its end: closing it over unread bytes would reset it, and the
	// Close might be lost.
	r.half[s].flags |= wantFin
	r.half[s.Other()].flags |= wantFin
	r.sendClose(s, CodeProtocol, ProtocolError, now+1)
	if s == session.Client {
		r.sendClose(session.Backend, CodeGoingAway, GoingAway, now+1)
	} else {
		r.sendClose(session.Client, CodeInternal, BackendBroken, now+1)
	}
}

// eof: s will send nothing more. Half-close is honoured: what the other side
// still has to say is carried to s.
func (r *record) eof(s session.Side, now eventloop.Tick) {
	h := &r.half[s]
	if h.flags&(isEOF|isLost) != 0 {
		return
	}
	h.flags |= isEOF
	r.peerGone(s, now)
}

// lose: the connection of s is of no more use in either direction.
func (r *record) lose(s session.Side, now eventloop.Tick) {
	h := &r.half[s]
	if h.flags&isLost != 0 {
		return
	}
	h.flags = h.flags&^(wantClose|wantPing|wantFin) | isLost | isMuted
	r.peerGone(s, now)
}

// unwritable: the connection of s has ended, as a write to it has told. What s
// sent before that, a Close perhaps, is still to be read, and then the end.
func (r *record) unwritable(s session.Side, now eventloop.Tick) {
	h := &r.half[s]
	h.flags = h.flags&^(wantClose|wantPing|wantFin) | isMuted
	if s == session.Backend {
		r.bereave(session.BackendLost, now)
	}
}

// peerGone tells the other side of the end of s. A client is told in words: a
// bare end of the connection would be a 1006 to it. A backend sees what it
// would see without a balancer, so that it can tell a lost client from one
// that said goodbye.
func (r *record) peerGone(s session.Side, now eventloop.Tick) {
	if s == session.Backend && r.survives(now) {
		return
	}
	if r.half[s].flags&isClosed == 0 {
		r.end([2]session.Cause{session.ClientLost, session.BackendLost}[s], now)
	}
	if s == session.Backend && r.half[session.Client].flags&isEOF == 0 {
		r.sendClose(session.Client, CodeServiceRestart, BackendLost, now+1)
	}
	o := &r.half[s.Other()]
	if o.flags&isLost == 0 {
		o.flags |= wantFin
	}
}

// begin closes the session by our own decision. The client's answer goes on to
// the backend and ends the session there too.
func (r *record) begin(c closeOrder, now eventloop.Tick, boundary eventloop.Tick) {
	if r.cause != session.None {
		return
	}
	r.end(c.cause, now)
	r.ours = true
	r.sendClose(session.Client, c.code, c.reason, now+boundary)
}

// chosen reports whether o is about this session.
func (r *record) chosen(o *Order) bool {
	if r.cause != session.None || o.Keep && r.closeAt == 0 && r.phase != waiting {
		return false
	}
	if o.Late && r.closeAt != 0 && (o.Move || r.plan&toMove == 0) {
		return false
	}
	if o.Most != nil && o.Most[r.backend] == 0 {
		return false
	}
	if o.MoveOnly && (r.plan&movable == 0 || r.closeAt != 0 || r.phase != staying) {
		return false
	}
	return o.Select == nil || o.Select(r.info())
}

// leaves reports that the session won't be with its backend much longer,
// unless an order is taken back or a move fails.
func (r *record) leaves() bool {
	return r.cause != session.None || r.closeAt != 0 || r.phase != staying
}

// schedule has the session closed or moved by o after so long, unless an
// earlier order stands, see Order; or takes that back.
func (r *record) schedule(o *Order, now eventloop.Tick, after time.Duration) {
	at := now + max(1, eventloop.Ticks(after))
	if o.Keep {
		r.closeAt = 0
		r.plan |= orNothing // should it be moved right now
		if r.phase == waiting {
			r.quit()
		}
		return
	}
	moves := (o.Move || o.MoveOnly) && r.plan&movable != 0
	if moves && r.phase >= turning && r.plan.why() == session.Loss {
		return // it leaves that backend already
	}
	stands := r.closeAt != 0 && at >= r.closeAt
	if r.closeAt != 0 && moves != (r.plan&toMove != 0) {
		stands = moves
	}
	if !stands {
		r.closeAt, r.half[session.Client].want = at, closeOrder{code: o.Code, reason: o.Reason, cause: o.Cause}
		r.plan = r.plan.with(moves, o)
	}
}

// settled reports that the session is over but for closing its sockets. A
// server closes first (RFC 6455 §7.1.1): the client's connection is ours to
// close once its Close has come, the backend's end is awaited.
func (r *record) settled() bool {
	c, b := &r.half[session.Client], &r.half[session.Backend]
	if r.cause == session.None {
		return false
	}
	cDone := c.flags&(isEOF|isLost|isClosed) != 0
	bDone := b.flags&(isEOF|isLost) != 0
	return cDone && bDone && drained(c) && drained(b)
}

// drained: nothing is left to be written to the side.
func drained(h *half) bool {
	return h.flags&isLost != 0 || h.pending == 0 && h.flags&wantClose == 0
}

// lingered is called when nothing has moved for too long in a closing
// session. A side that was never told is told now; one that does not answer is
// given up.
func (r *record) lingered(now eventloop.Tick) {
	code := r.code
	if code == 0 {
		code = CodeGoingAway
	}
	for s := range r.half {
		side := session.Side(s)
		if r.half[s].flags&(hasLingered|isMuted) != 0 {
			r.lose(side, now)
			continue
		}
		r.half[s].flags |= hasLingered
		r.sendClose(side, code, NoReason, now+1)
	}
	r.moved = now
}

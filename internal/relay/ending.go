package relay

import (
	"cmp"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// end sets the cause, unless there is one already, and aborts a move.
func (r *record) end(cause session.Cause, now eventloop.Tick) {
	if r.cause == session.None {
		r.cause = cause
		r.lastProgress = now
		r.requestAt = 0
		r.abortMove()
	}
}

// sendClose makes inject send a Close frame to s, unless s has got one or can't
// get one. A client that has sent one gets its own code back (RFC 6455 §5.5.1),
// whatever happened to the backend.
func (r *record) sendClose(s session.Side, code uint16, reason Reason, deadline eventloop.Tick) {
	h := &r.sides[s]
	if h.flags&(writeClosed|isLost|wantClose) != 0 {
		return
	}
	if r.marks&isOpaque != 0 {
		h.flags |= wantFin | writeClosed
		return
	}
	if s == session.Client && h.flags&isClosed != 0 {
		code, reason = echo(h.walker.CloseCode()), NoReason
	}
	h.flags |= wantClose
	r.closes[s] = plannedClose{code: code, reason: reason}
	r.deadline = deadline
}

// echo is the code that answers a Close with this code; 0 is a Close without one.
// Codes that must not be in a frame, or are not assigned (RFC 6455 §7.4), are not
// repeated.
func echo(code uint16) uint16 {
	if code == 0 || frame.MayClose(code) {
		return code
	}
	return CodeProtocol
}

// onClose is called when the Close frame of s has been walked. It is passed to the
// other side, as the last frame there.
func (r *record) onClose(s session.Side, now eventloop.Tick) {
	h, o := &r.sides[s], &r.sides[s.Other()]
	h.flags |= isClosed | discardReads
	if r.cause == session.None || o.flags&isViolator != 0 {
		r.code = h.walker.CloseCode()
	}
	r.end(closed[s], now)
	if s == session.Client && o.flags&isLost != 0 {
		// There is no backend to answer it: the session was being moved.
		r.sendClose(s, r.code, NoReason, now+1)
	}
	o.flags = o.flags&^(wantClose|wantPing) | writeClosed
	if o.flags&isViolator != 0 {
		r.fail(s.Other(), now, now+1) // this was the last answer
	}
}

// onViolation is called when s has violated RFC 6455, or has sent more than it may. By
// §7.1.7 its connection must fail. Its earlier messages were valid and have been passed on, so the other side
// first gets time to answer them, and s gets the answers. See fail.
func (r *record) onViolation(s session.Side, now eventloop.Tick) {
	h, o := &r.sides[s], &r.sides[s.Other()]
	answer := r.cause == session.None && h.walker.Messages > 0 && !readClosed(o) && o.flags&writeClosed == 0
	h.flags |= discardReads | isViolator
	r.end(r.offence(s).cause, now)
	r.marks |= isOurs
	r.deadline = now // Times.Reply counts from here
	if !answer {
		r.fail(s, now, now+1)
	}
}

// violator is the side that violated RFC 6455 and for which fail was not called
// yet.
func (r *record) violator() (s session.Side, ok bool) {
	switch {
	case r.sides[session.Client].flags&isViolator != 0:
		return session.Client, true
	case r.sides[session.Backend].flags&isViolator != 0:
		return session.Backend, true
	}
	return 0, false
}

// offence is the Close for side s after a violation.
func (r *record) offence(s session.Side) plannedClose {
	switch r.sides[s].walker.Fault() {
	case frame.FaultSize:
		return plannedClose{CodeTooBig, TooBig, session.MessageTooBig}
	case frame.FaultMessages, frame.FaultBytes:
		return plannedClose{CodePolicy, TooMuch, session.RateLimited}
	}
	return plannedClose{CodeProtocol, ProtocolError, [2]session.Cause{session.ClientProtocol, session.BackendProtocol}[s]}
}

// fail ends the session because of a violation by s. Both sides get a Close.
func (r *record) fail(s session.Side, now, deadline eventloop.Tick) {
	// The stream to s is shut down too, and s is read until its end: closing a
	// connection with unread bytes resets it, and the Close might be lost.
	r.sides[s].flags = r.sides[s].flags&^isViolator | wantFin
	r.sides[s.Other()].flags |= wantFin
	r.lastProgress = now
	c := r.offence(s)
	r.sendClose(s, c.code, c.reason, deadline)
	if s == session.Client {
		code := uint16(CodeGoingAway)
		if b := &r.sides[session.Backend]; b.flags&isClosed != 0 {
			code = echo(b.walker.CloseCode())
		}
		r.sendClose(session.Backend, code, GoingAway, deadline)
	} else {
		r.sendClose(session.Client, CodeInternal, BackendBroken, deadline)
	}
}

// eof is called when s has ended its stream. What the other side still sends is
// passed to s (half-close).
func (r *record) eof(s session.Side, now eventloop.Tick) {
	h := &r.sides[s]
	if h.flags&(isEOF|isLost) != 0 {
		return
	}
	h.flags |= isEOF
	r.peerGone(s, now)
}

// lose is called when the connection of s can't be used any more in either
// direction.
func (r *record) lose(s session.Side, now eventloop.Tick) {
	h := &r.sides[s]
	if h.flags&isLost != 0 {
		return
	}
	h.giveUp()
	r.peerGone(s, now)
}

// giveUp marks a side whose connection can't be used any more.
func (h *side) giveUp() {
	h.flags = h.flags&^(wantClose|wantPing|wantFin) | isLost | writeClosed
}

// unwritable is called when a write has failed since the peer has closed the
// connection of s, or with reset has reset it. What s sent before, perhaps a Close, is
// still read, and then the end.
func (r *record) unwritable(s session.Side, reset bool, now eventloop.Tick) {
	if r.marks&isOpaque != 0 {
		r.refusesBytes(s, reset, now)
		return
	}
	h := &r.sides[s]
	h.flags = h.flags&^(wantClose|wantPing|wantFin) | writeClosed
	if s == session.Backend {
		r.onBackendLost(session.BackendLost, now)
	}
}

// peerGone reports the end of s to the other side. A client gets a Close, since
// without one it would see 1006. A backend sees what it would see without a
// balancer, so that it can tell a lost client from one that closed.
func (r *record) peerGone(s session.Side, now eventloop.Tick) {
	if r.marks&isOpaque != 0 {
		r.streamEnded(s, now)
		return
	}
	if s == session.Backend && r.tryReattach(now) {
		return
	}
	if f, ok := r.violator(); ok {
		if f == s && r.sides[s].flags&isLost == 0 {
			return // it can still get the answers to its messages
		}
		r.fail(f, now, now+1)
	}
	if r.sides[s].flags&isClosed == 0 {
		r.end(lost[s], now)
	}
	if s == session.Backend && r.sides[session.Client].flags&isEOF == 0 {
		r.sendClose(session.Client, CodeServiceRestart, BackendLost, now+1)
	}
	o := &r.sides[s.Other()]
	if o.flags&isLost == 0 {
		o.flags |= wantFin
	}
}

// beginClose closes the session by our own decision. The client's answer is passed
// to the backend and ends the session there too.
func (r *record) beginClose(c plannedClose, now eventloop.Tick, boundary eventloop.Tick) {
	if r.cause != session.None {
		return
	}
	r.end(c.cause, now)
	r.marks |= isOurs
	if r.marks&isOpaque != 0 {
		r.sendClose(session.Backend, c.code, c.reason, now) // it gets no answer of the client's
	}
	r.sendClose(session.Client, c.code, c.reason, now+boundary)
}

// settled reports that only the connections are left to close. The server closes
// first (RFC 6455 §7.1.1): we close the client's connection after its Close, and
// wait for the backend to end its own.
func (r *record) settled() bool {
	c, b := &r.sides[session.Client], &r.sides[session.Backend]
	if r.cause == session.None {
		return false
	}
	cDone := c.flags&(isEOF|isLost|isClosed) != 0
	bDone := b.flags&(isEOF|isLost) != 0
	return cDone && bDone && drained(c) && drained(b)
}

// drained reports that nothing is left to write to the side.
func drained(h *side) bool {
	return h.flags&isLost != 0 || h.pending == 0 && h.flags&wantClose == 0
}

// lingered is called when a closing session has made no progress for too long. A
// side that has got no Close gets one now; a side that doesn't answer is given up.
func (r *record) lingered(now eventloop.Tick) {
	for s := range r.sides {
		side, h := session.Side(s), &r.sides[s]
		if h.flags&(hasLingered|writeClosed) != 0 || r.marks&isOpaque != 0 {
			r.lose(side, now)
			continue
		}
		h.flags |= hasLingered
		code := cmp.Or(r.code, CodeGoingAway)
		if h.flags&isClosed != 0 {
			code = echo(h.walker.CloseCode())
		}
		r.sendClose(side, code, NoReason, now+1)
	}
	r.lastProgress = now
}

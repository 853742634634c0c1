package relay

import (
	"errors"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// plan is what a request wants from a session, and what is possible. Its upper bits
// are a session.Why.
type plan uint8

const (
	movable plan = 1 << iota
	onLoss
	toMove     // requestAt is for a move
	orStay     // if that fails, the session stays
	tooLate    // the move ran out of time
	cutShort   // the old backend was lost inside a message
	planBits   = iota
	withoutWhy = 1<<planBits - 1
)

func (p plan) because(w session.Why) plan { return p&withoutWhy | plan(w)<<planBits }

func (p plan) why() session.Why { return session.Why(p >> planBits) }

// move is what a session has in addition to its record while it isn't idle.
type move struct {
	// begun is the beginning of a Close frame from the old backend, while it isn't
	// known whether the client should see it.
	begun []byte

	queue  queueState
	from   phase          // in which it was queued
	why    session.Why    // for which it was queued
	turned bool           // it has had its turn, and so awaited a boundary
	waitBy eventloop.Tick // the deadline without the delay; the end of all searches

	// err is the Reattacher's reason for finding no backend. If it is Retryable,
	// the session searches again, otherwise its move has failed.
	err error

	// If the new backend rejects the session, another move follows.
	swapped bool
	gap     time.Duration  // for which the client wasn't read
	until   eventloop.Tick // for all moves since the first rejection; 0 if there was none

	kept     []byte    // what was read of the client beyond the boundary at which it is paused
	pausedAt time.Time // zero if it isn't
	search   *search   // nil until Reattach is called, and between two searches
	woken    bool      // driver.advance will be called
}

// step is what the driver must do next for a move.
type step uint8

const (
	stepNone    step = iota
	stepReserve      // call Reserve, and put the session into the queue; record.reserved
	stepSwap         // put the new backend in place; record.swapped
	stepKeep         // end the move; record.moveEnded
)

// nextStep is called after each change of a record that isn't idle.
func (r *record) nextStep(m *move) step {
	c, b := &r.sides[session.Client], &r.sides[session.Backend]
	switch r.phase {
	case queued:
		if m.queue == notQueued {
			return stepReserve
		}
	case awaitingBoundary:
		if r.maySearch() && (m.queue == notQueued || m.why != r.plan.why()) {
			return stepReserve
		}
	case drainingOld:
		if readClosed(b) && c.flags&readPaused != 0 {
			return stepSwap
		}
	case aborting:
		return stepKeep
	}
	return stepNone
}

// readClosed reports that nothing more from the side is read.
func readClosed(h *side) bool { return h.flags&(isEOF|isLost|discardReads) != 0 }

// onBackendLost notes that the session has lost its backend, and the cause with
// which it ends if there is no other. If no search has begun, the session is moved
// because of the loss from now on, if it may be, whatever the reason was before. A
// search in progress goes on; moveFailed decides what follows it.
func (r *record) onBackendLost(cause session.Cause, now eventloop.Tick) {
	switch {
	case r.cause != session.None || r.sides[session.Backend].flags&isClosed != 0:
	case r.phase == drainingOld: // it has got our Close or a notice
	case r.phase == onProbation:
		if r.plan&onLoss != 0 { // moveEnded begins a move for the loss
			r.failure = cause
			r.abortMove()
		}
	case r.phase == connecting || r.phase == aborting:
		if r.failure == session.ReattachFailed {
			r.failure = cause
		}
	case r.phase == awaitingBoundary && r.plan.why() == session.Loss: // known already
	case r.plan&onLoss != 0:
		r.enter(awaitingBoundary)
		r.failure = cause
		r.plan = (r.plan &^ (tooLate | cutShort)).because(session.Loss)
		r.deadline = now + r.moveTimeout
		r.hold()
	}
}

// survivesLoss reports whether the session goes on if its backend is lost.
func (r *record) survivesLoss() bool {
	switch {
	case r.cause != session.None:
		return false
	case r.phase == connecting || r.phase == drainingOld:
		return true // whatever the move is for
	case r.phase == awaitingBoundary && r.sides[session.Backend].flags&isClosed != 0:
		return true // its backend has closed so that it is moved
	}
	return r.plan&onLoss != 0
}

// tryReattach is called when the backend was lost without a Close. It reports
// whether the session goes on, since it is being moved or can be.
func (r *record) tryReattach(now eventloop.Tick) bool {
	if !r.survivesLoss() {
		return false
	}
	r.onBackendLost(session.BackendLost, now)
	r.sides[session.Backend].giveUp()
	r.endIfInside(now)
	return true
}

// endIfInside ends the session if its old backend has ended inside a message,
// which no other backend can continue.
func (r *record) endIfInside(now eventloop.Tick) {
	if !r.sides[session.Backend].walker.AtMessage() {
		r.plan |= cutShort
		r.closeOrphan(now)
	}
}

// backendGone reports that the session has lost its backend: what its client sends
// goes nowhere.
func (r *record) backendGone() bool {
	b := &r.sides[session.Backend]
	return readClosed(b) || b.flags&writeClosed != 0
}

// beginSearch is called when Reattach is.
func (r *record) beginSearch(m *move, now eventloop.Tick) {
	r.enter(connecting)
	r.deadline = now + r.left(m, now) + 2 // an error of Reattach at its deadline comes first
	if m.err == nil {
		r.countMove()
	}
}

// countMove counts a move at its first search.
func (r *record) countMove() { r.moves = max(r.moves, r.moves+1) } // stays at 255

// found is called when Reattach has found another backend.
func (r *record) found(m *move, now eventloop.Tick, t ticks) {
	m.err = nil
	r.enter(drainingOld)
	r.lastProgress = now
	if readClosed(&r.sides[session.Backend]) {
		r.deadline = now + t.boundary // for the client to end its message, which is thrown away
		return
	}
	if r.marks&hasControl != 0 {
		r.marks |= wantNotice
		r.deadline = now + r.moveTimeout
		return
	}
	r.closeOld(now)
}

// closeOld sends the old backend a Close. The ping before it distinguishes the
// answer to that Close from one that crosses it, see answersClose. A backend that
// is inside a frame can't answer now and gets no ping.
func (r *record) closeOld(now eventloop.Tick) {
	r.lastProgress, r.deadline = now, now+r.moveTimeout
	if b := &r.sides[session.Backend]; b.walker.AtFrame() {
		b.flags |= wantPing
	}
	r.sendClose(session.Backend, CodeServiceRestart, Moved, r.deadline)
}

// swapped is called when the new backend's connection has replaced the old one's.
// The pings that the old backend has not answered are forgotten.
func (r *record) swapped(id uint32, control bool, now eventloop.Tick, t ticks) {
	b := &r.sides[session.Backend]
	*b = side{walker: frame.Walker{Messages: b.walker.Messages, Rules: b.walker.Rules}, bytes: b.bytes, pings: b.pings, lastIn: now,
		fd: b.fd, flags: b.flags & (isReadable | isEnded)}
	r.backend = id
	if r.marks &= lastingMarks; control { // what is about the backend has ended
		r.marks |= hasControl | wantNotice
	}
	if r.plan&toMove != 0 || ofBackend(r.closes[session.Client].cause) {
		r.requestAt = 0
	}
	r.moveEnded(now)
	if t.probation != 0 {
		r.enter(onProbation)
		r.failure, r.deadline = session.ReattachFailed, now+t.probation
	}
}

// ofBackend reports that a request with this cause is about the backend of the
// session.
func ofBackend(c session.Cause) bool {
	return c == session.BackendRemoved || c == session.BackendDrained || c == session.BackendDown || c == session.Rebalanced
}

// moveEnded is called when the driver has cleaned up after the move. It must pass on
// now what it has kept of the client's bytes.
func (r *record) moveEnded(now eventloop.Tick) {
	c := &r.sides[session.Client]
	r.enter(idle)
	if c.flags&readPaused != 0 {
		c.flags &^= readPaused
		c.lastIn = now // it wasn't read
	}
	if r.cause != session.None || !r.backendGone() {
		return
	}
	r.onBackendLost(r.failure, now) // it was lost during the move
	if r.sides[session.Backend].flags&isLost != 0 {
		r.peerGone(session.Backend, now)
	}
}

// abortMove gives up the move, if there is one.
func (r *record) abortMove() {
	if r.phase != idle {
		r.enter(aborting)
	}
}

// moveFailed is called when no other backend was found. The session goes on with
// the old one, or is closed if the request says so. If the old one was lost
// meanwhile, moveEnded begins a move because of the loss, if that is allowed.
func (r *record) moveFailed(now eventloop.Tick, t ticks) {
	r.abortMove()
	goesOn := r.plan&onLoss != 0 && r.plan.why() != session.Loss && r.sides[session.Backend].flags&isClosed == 0
	switch {
	case r.backendGone() && goesOn:
	case r.backendGone():
		r.closeOrphan(now)
	case r.failure == session.ReattachFailed && r.requestAt == 0 && r.plan&orStay == 0:
		r.beginClose(r.closes[session.Client], now, t.boundary)
	}
}

// closeOrphan ends a session that has lost its backend for good.
func (r *record) closeOrphan(now eventloop.Tick) {
	r.end(r.failure, now)
	r.sides[session.Backend].giveUp()
	r.sendClose(session.Client, CodeServiceRestart, BackendLost, now+1)
	r.sides[session.Client].flags |= wantFin
}

// clientEnds is called when a paused client has closed its stream or connection,
// after what is unread. The session then needs no other backend if it has one, and
// begins no search.
func (r *record) clientEnds(now eventloop.Tick) {
	switch backendGone := r.backendGone(); {
	case !backendGone && (r.phase == awaitingBoundary || r.phase == connecting):
		r.abortMove()
	case backendGone && r.phase == awaitingBoundary:
		r.failure = session.ClientLost
		r.closeOrphan(now)
	}
}

// reattachRequest is what the Reattacher is asked for.
func (r *record) reattachRequest(m *move, now eventloop.Tick) ReattachRequest {
	return ReattachRequest{Info: r.info(), Why: r.plan.why(), Attempt: int(r.moves), Again: m.err != nil,
		Control: r.marks&hasControl != 0, Deadline: time.Now().Add(r.left(m, now).Duration())}
}

// whyNotMoved is the error for the Reattacher at the end of a move that failed.
func (r *record) whyNotMoved(m *move, asked, found bool) error {
	var retryable Retryable
	searchesAgain := errors.As(m.err, &retryable)
	switch {
	case m.err != nil && !searchesAgain:
		return m.err
	case r.plan&cutShort != 0:
		return ErrMessageCut
	case r.plan&tooLate == 0 && r.cause == session.None && m.from == queued && !m.turned:
		return ErrTakenBack // nothing else ends the wait of a session that goes on
	case r.plan&tooLate == 0:
		return ErrMoveOver
	case searchesAgain:
		return retryable.Err
	case asked && !found:
		return ErrMoveTimeout
	case !asked && !m.turned:
		return ErrMoveWaited
	}
	return ErrNoBoundary
}

package relay

import (
	"errors"
	"time"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/frame"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// phase is how far a session is on its way to another backend.
//
//	        an Order's              a place in          the client is held, and all
//	        turn                    the line            it said before is written
//	staying ───────────▶ waiting ───────────▶ turning ───────────────────▶ seeking
//	 ▲ ▲ │  a lost backend, now or waiting     ▲ ▲│ none now, after a loss   │  │ found: the old backend
//	 │ │ │                                     │ └┼──────────────────────────┤  │ is sent a Close
//	 │ │ └──────────────────┬──────────────────┘  │ no boundary,             │  │
//	 │ │                    │ no place            │ no place                 │  │
//	 │ │                    │ in time             │ in time    none found,   │  ▼
//	 │ │ stayed             ▼                     ▼            or too late   │ leaving
//	 │ └────────────────quitting ◀──────────────────────────────────────────┘  │
//	 │                      ▲                                                   │
//	 │                      └──────────────── the session ends ────────────────┤
//	 └─────────────────────────────────────────────────────────────────────────┘
//	    swapped: the old backend has ended, the client is held
//
// A session whose old backend is lost while another is looked for in vain comes
// to staying as well, and is as one that has lost it there.
//
// Waiting, a session goes on as ever, and only its place in the engine's line
// tells it from one that stays; see place. One that has lost its backend is
// turning while it waits, and so is one that came to its boundary late: their
// clients are held, and they go first. Where there is none to be had for it now,
// it is turning again until its time is over, and has a place only now and then.
//
// Held, the client stands between two messages and isn't read; TCP makes it
// wait. The old backend talks to it all the while.
//
// Nothing is lost, doubled or reordered where the old backend reads what it
// was sent and says what it has to say before it answers our Close:
//
//   - The client's bytes are one row, and isHeld cuts it in two, where the
//     walker stands between two messages. It is set by nothing but hold, and
//     only swapped and stayed take it off. What is before the cut has all been
//     given to the old backend's connection, since seeking begins only when
//     nothing of it waits; our Close follows it there. What is behind the cut
//     is the rest of the last read, which the engine keeps, and then what is in
//     the socket: none of it is walked or written while isHeld is set, and then
//     it goes, in this order, to the one backend that there is.
//   - The old backend's bytes go to the client up to its Close, behind which it
//     can say nothing (RFC 6455 §5.5.1), or to its end. Only then, and only
//     where they end between two messages, is it swapped, and the new one's
//     first byte read. What waits for the client is in one row for both.
//
// Where the old backend is lost, what it had not answered may be lost with it,
// and the rest of a message that it had begun to get is thrown away.
type phase uint8

const (
	staying phase = iota
	waiting
	turning
	seeking
	leaving
	quitting // the engine has yet to put its part of the move away
)

// plan is what is to become of a session at its turn, and what may. Its upper
// bits are a session.Why.
type plan uint8

const (
	movable plan = 1 << iota
	onLoss
	toMove     // closeAt is for a move
	orNothing  // and not for a close if that fails
	tooLate    // the move ran out of time
	cutShort   // the old backend went inside a message
	planBits   = iota
	withoutWhy = 1<<planBits - 1
)

func (p plan) with(moves bool, o *Order) plan {
	p &= movable | onLoss | tooLate | cutShort
	if !moves {
		return p
	}
	p |= toMove
	if o.MoveOnly {
		p |= orNothing
	}
	return p.because(o.Why)
}

func (p plan) because(w session.Why) plan { return p&withoutWhy | plan(w)<<planBits }

func (p plan) why() session.Why { return session.Why(p >> planBits) }

// move is what only sessions that are being moved have beside their record.
type move struct {
	// begun is the beginning of a Close frame of the old backend's, of which
	// it isn't known yet whether the client is to see it.
	begun []byte

	place  place
	from   phase          // in which it got its place
	why    session.Why    // it was to be moved then
	turned bool           // its client was to be held, so a boundary was awaited
	waitBy eventloop.Tick // forceAt, while place is later; when to look again no more

	// err is what the Mover said why there is no backend. With NotNow it is to
	// look again, else it is moved no more.
	err error
}

// step is what the engine is to do for a session that is being moved.
type step uint8

const (
	stepNone step = iota
	stepLine      // ask the Mover how long it is to wait, and then put it in the line; record.await
	stepSwap      // put the backend that was found in place; record.swapped
	stepStay      // put all of the move away; record.stayed
)

// next is asked after anything has happened to the record, while it isn't
// staying.
func (r *record) next(m *move) step {
	c, b := &r.half[session.Client], &r.half[session.Backend]
	switch r.phase {
	case waiting:
		if m.place == apart {
			return stepLine
		}
	case turning:
		if r.maySeek() && (m.place == apart || m.why != r.plan.why()) {
			return stepLine
		}
	case leaving:
		if gone(b) && c.flags&isHeld != 0 {
			return stepSwap
		}
	case quitting:
		return stepStay
	}
	return stepNone
}

// gone: nothing that the side says is heard any more.
func gone(h *half) bool { return h.flags&(isEOF|isLost|isDeaf) != 0 }

// bereave is told that the session has lost its backend, and with which cause
// it is to end if no other is to be had. Where none has been asked yet, it is
// moved for the loss from now on, if it may, whatever it was to be moved for. A
// search that is under way goes on; what comes after it, moveFailed says.
func (r *record) bereave(cause session.Cause, now eventloop.Tick) {
	switch {
	case r.cause != session.None || r.half[session.Backend].flags&isClosed != 0:
	case r.phase == leaving: // it was told to go
	case r.phase == seeking || r.phase == quitting:
		if r.failure == session.ReattachFailed {
			r.failure = cause
		}
	case r.phase == turning && r.plan.why() == session.Loss: // known already
	case r.plan&onLoss != 0:
		r.phase, r.failure = turning, cause
		r.plan = (r.plan &^ (tooLate | cutShort)).because(session.Loss)
		r.forceAt = now + r.moveTimeout
		r.hold()
	}
}

// outlives: the loss of its backend does not end the session.
func (r *record) outlives() bool {
	switch {
	case r.cause != session.None:
		return false
	case r.phase == seeking || r.phase == leaving:
		return true // whatever another is asked for
	case r.phase == turning && r.half[session.Backend].flags&isClosed != 0:
		return true // its backend has closed for it to be moved
	}
	return r.plan&onLoss != 0
}

// survives reports whether the session goes on although its backend has gone
// without a word, since it is, or can be, moved.
func (r *record) survives(now eventloop.Tick) bool {
	if !r.outlives() {
		return false
	}
	r.bereave(session.BackendLost, now)
	b := &r.half[session.Backend]
	b.flags = b.flags&^(wantClose|wantPing|wantFin) | isLost | isMuted
	r.mustNotBeInside(now)
	return true
}

// mustNotBeInside ends a session whose old backend has ended inside a message:
// no other can end that.
func (r *record) mustNotBeInside(now eventloop.Tick) {
	if !r.half[session.Backend].walker.AtMessage() {
		r.plan |= cutShort
		r.strand(now)
	}
}

// bereft: it has lost its backend, and what it says goes nowhere.
func (r *record) bereft() bool {
	b := &r.half[session.Backend]
	return gone(b) || b.flags&isMuted != 0
}

// sought: the Mover has been asked.
func (r *record) sought(m *move, now eventloop.Tick) {
	r.phase = seeking
	r.forceAt = now + r.left(m, now) + 2 // what Reattach says of its deadline comes before
	if m.err == nil {
		r.countMove()
	}
}

// countMove counts a move at its first look.
func (r *record) countMove() { r.moves = max(r.moves, r.moves+1) } // stays at 255

// found: another backend is there.
func (r *record) found(m *move, now eventloop.Tick, t ticks) {
	m.err = nil
	r.phase, r.moved = leaving, now
	r.forceAt = now + r.moveTimeout
	if gone(&r.half[session.Backend]) {
		r.forceAt = now + t.boundary // for the client to end the message that is thrown away
		return
	}
	r.sendClose(session.Backend, CodeServiceRestart, Moved, r.forceAt)
}

// swapped: the new backend's connection is in the place of the old one's. The
// pings that the old one has not answered are forgotten.
func (r *record) swapped(id uint32, now eventloop.Tick) {
	b := &r.half[session.Backend]
	*b = half{walker: frame.Walker{Messages: b.walker.Messages}, bytes: b.bytes, pings: b.pings, lastIn: now}
	r.backend = id
	if r.plan&toMove != 0 || ofBackend(r.half[session.Client].want.cause) {
		r.closeAt = 0
	}
	r.stayed(now)
}

// ofBackend: an order with this cause was about the backend a session was with.
func ofBackend(c session.Cause) bool {
	return c == session.BackendRemoved || c == session.BackendDrained || c == session.Rebalanced
}

// stayed: the engine has put its part of the move away. What it has kept of
// the client's is to be passed now.
func (r *record) stayed(now eventloop.Tick) {
	c := &r.half[session.Client]
	r.phase = staying
	if c.flags&isHeld != 0 {
		c.flags &^= isHeld
		c.lastIn = now // it could not be heard
	}
	if r.cause != session.None || !r.bereft() {
		return
	}
	r.bereave(r.failure, now) // lost during the move
	if r.half[session.Backend].flags&isLost != 0 {
		r.peerGone(session.Backend, now)
	}
}

// quit gives a move up, as the session's end does.
func (r *record) quit() {
	if r.phase != staying {
		r.phase = quitting
	}
}

// moveFailed: no other backend is to be had. The session goes on with the old
// one, or is closed as the Order says. Where that one was lost meanwhile, it is
// stayed that has it moved for the loss, if it may.
func (r *record) moveFailed(now eventloop.Tick, t ticks) {
	r.quit()
	goesOn := r.plan&onLoss != 0 && r.plan.why() != session.Loss && r.half[session.Backend].flags&isClosed == 0
	switch {
	case r.bereft() && goesOn:
	case r.bereft():
		r.strand(now)
	case r.failure == session.ReattachFailed && r.closeAt == 0 && r.plan&orNothing == 0:
		r.begin(r.half[session.Client].want, now, t.boundary)
	}
}

// strand ends a session that has lost its backend for good.
func (r *record) strand(now eventloop.Tick) {
	r.end(r.failure, now)
	b, c := &r.half[session.Backend], &r.half[session.Client]
	b.flags = b.flags&^(wantClose|wantPing|wantFin) | isLost | isMuted
	r.sendClose(session.Client, CodeServiceRestart, BackendLost, now+1)
	c.flags |= wantFin
}

// clientEnds: the client has closed its end, or all of its connection, behind
// what is unread. It needs no other backend while it has one, and is not worth
// one's handshake while nobody was asked.
func (r *record) clientEnds(now eventloop.Tick) {
	switch bereft := r.bereft(); {
	case !bereft && (r.phase == turning || r.phase == seeking):
		r.quit()
	case bereft && r.phase == turning:
		r.failure = session.ClientLost
		r.strand(now)
	}
}

// moving is what a Mover is told.
func (r *record) moving(m *move, now eventloop.Tick) Moving {
	return Moving{Info: r.info(), Why: r.plan.why(), Attempt: int(r.moves), Again: m.err != nil,
		Deadline: time.Now().Add(r.left(m, now).Duration())}
}

// whyNotMoved is what a Mover is told of the end of a move that failed.
func (r *record) whyNotMoved(m *move, asked, found bool) error {
	var notNow NotNow
	looksAgain := errors.As(m.err, &notNow)
	switch {
	case m.err != nil && !looksAgain:
		return m.err
	case r.plan&cutShort != 0:
		return ErrMessageCut
	case r.plan&tooLate == 0 && r.cause == session.None && m.from == waiting && !m.turned:
		return ErrTakenBack // nothing else ends the wait of a session that goes on
	case r.plan&tooLate == 0:
		return ErrMoveOver
	case looksAgain:
		return notNow.Err
	case asked && !found:
		return ErrMoveTimeout
	case !asked && !m.turned:
		return ErrMoveWaited
	}
	return ErrNoBoundary
}

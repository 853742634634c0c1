package relay

import (
	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// ErrRejected means that the new backend has closed the session, or was lost,
// within Times.Probation after the swap.
var ErrRejected = failure.New(failure.Rejected, "the new backend did not keep the session")

// rejects reports that a backend which closes with this code soon after the swap
// can't serve the session, but another backend may. Any other code is a message for
// the client.
func rejects(code uint16) bool {
	switch code {
	case 0, CodeGoingAway, CodeProtocol, CodeInternal, CodeServiceRestart, CodeTryAgainLater, codeBadGateway:
		return true
	}
	return false
}

// rejected is called when the new backend has rejected the session with a Close of
// n bytes, which is not passed to the client.
func (r *record) rejected(n int, now eventloop.Tick) {
	b := &r.sides[session.Backend]
	b.bytes -= uint64(n)
	b.giveUp()
	b.flags |= discardReads
	if r.plan&onLoss == 0 {
		r.closeOrphan(now)
		return
	}
	r.onBackendLost(session.ReattachFailed, now)
	r.endIfInside(now)
}

// rejection is the error that the Reattacher gets for a move that was swapped. It is
// nil if the backend has kept the session, or the session has ended for another
// reason.
func (r *record) rejection() error {
	switch r.cause {
	case session.None:
		if !r.backendGone() {
			return nil
		}
	case session.BackendClosed, session.BackendLost, session.BackendProtocol, session.BackendSilent, session.BackendDown, session.ReattachFailed:
	default:
		return nil
	}
	return ErrRejected
}

// moveAgain is called when m has ended and another move, next, follows. All moves
// since the first rejection share the time of one. If the new backend rejects the
// session again, the following move begins after a pause.
func (r *record) moveAgain(m, next *move, now eventloop.Tick) {
	next.until = m.until
	if m.swapped && r.phase == awaitingBoundary {
		if next.until == 0 {
			next.until = now + r.moveTimeout
		} else if now < next.until {
			next.queue, next.from, next.why = delayed, awaitingBoundary, session.Loss
			next.waitBy = next.until
			r.deadline = min(next.until, now+pause(now+r.moveTimeout-next.until))
			return
		}
	}
	if next.until != 0 {
		r.deadline = min(r.deadline, next.until)
	}
}

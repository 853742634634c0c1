package proxy

import (
	"errors"
	"net/http"
	"time"

	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/dial"
	"github.com/holdfast-ws/holdfast/internal/handshake"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// Move is what became of an attempt to give a session another backend.
type Move struct {
	relay.Moving // Info.Backend: the one it was to leave

	To     uint32        // 0: it came to none
	Gap    time.Duration // for which the client was not read
	Result string        // one of MoveResults
	Err    error         // where Result isn't MoveDone
}

// Results of moves: the label of holdfast_reattach_total, and the word in the
// log. Where several backends were tried, it is the last one's.
const (
	MoveDone          = "moved"
	moveOff           = "off"         // the pool is gone from the configuration, or has no reattach for this
	moveNotKept       = "not_kept"    // its handshake
	moveNotNeeded     = "not_needed"  // no other has fewer than its fair share any more
	moveNoBackend     = "no_backend"  // none is up but the one it leaves
	movePoolFull      = "pool_full"   // all have as many sessions as they may
	moveUnreachable   = "unreachable" // could not be connected to
	moveSilent        = "silent"      // gave no answer
	moveBroken        = "broken"      // broke the protocol
	moveRefused       = "refused"     // gave another answer than 101
	moveDifferent     = "different"   // agreed to something else than the first backend had
	moveWaited        = "waited"      // too long for its turn
	moveTakenBack     = "taken_back"  // what it was for is over
	moveTimeout       = "timeout"     // of Reattach
	moveNoBoundary    = "no_boundary" // the client's message did not end
	moveMessageCut    = "message_cut" // the old backend went in the middle of one
	moveSessionEnded  = "client_gone" // or the session was ended meanwhile
	moveInternalError = "internal_error"
)

// MoveResults lists every Result a Move can have.
func MoveResults() []string {
	return []string{MoveDone, moveOff, moveNotKept, moveNotNeeded, moveNoBackend, movePoolFull, moveUnreachable, moveSilent, moveBroken,
		moveRefused, moveDifferent, moveWaited, moveTakenBack, moveTimeout, moveNoBoundary, moveMessageCut, moveSessionEnded, moveInternalError}
}

// MoveReasons lists why sessions are moved, in words.
func MoveReasons() []string {
	return []string{session.Drain.String(), session.Loss.String(), session.Rebalance.String()}
}

var (
	errMoveOff   = errors.New("the session's pool is not configured to give it another backend")
	errNotKept   = errors.New("the session's handshake was not kept")
	errDifferent = errors.New("agreed to another subprotocol or other extensions than the backend before it")
)

func moveResult(err error) string {
	var unreached *dial.Error
	var silent *silentError
	var broken *handshake.BackendError
	switch {
	case err == nil:
		return MoveDone
	case errors.Is(err, errMoveOff):
		return moveOff
	case errors.Is(err, errNotKept):
		return moveNotKept
	case errors.Is(err, balance.ErrEven):
		return moveNotNeeded
	case errors.Is(err, balance.ErrNone):
		return moveNoBackend
	case errors.Is(err, balance.ErrFull):
		return movePoolFull
	case errors.Is(err, errDifferent):
		return moveDifferent
	case errors.Is(err, handshake.ErrPlainAnswer):
		return moveRefused
	case errors.Is(err, relay.ErrMoveWaited):
		return moveWaited
	case errors.Is(err, relay.ErrTakenBack):
		return moveTakenBack
	case errors.Is(err, relay.ErrMoveTimeout):
		return moveTimeout
	case errors.Is(err, relay.ErrNoBoundary):
		return moveNoBoundary
	case errors.Is(err, relay.ErrMessageCut):
		return moveMessageCut
	case errors.Is(err, relay.ErrMoveOver):
		return moveSessionEnded
	case errors.As(err, &unreached):
		return moveUnreachable
	case errors.As(err, &silent):
		return moveSilent
	case errors.As(err, &broken):
		return moveBroken
	}
	return moveInternalError
}

// passes: the error may be over within seconds. Who doesn't run may be started,
// who is full may lose sessions; but an answer is an answer. status is that of
// the answer, where it is the error.
func passes(err error, status int) bool {
	switch moveResult(err) {
	case moveNoBackend, movePoolFull, moveUnreachable, moveSilent:
		return true
	case moveRefused:
		// It doesn't run yet, or no more: its own word, or that of a gateway
		// before it (RFC 9110 §15.6.3 to §15.6.5).
		return status >= http.StatusBadGateway && status <= http.StatusGatewayTimeout
	}
	return false
}

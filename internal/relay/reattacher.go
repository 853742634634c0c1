package relay

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// A Reattacher finds another backend for a session that is moved. The engine
// calls Reserve, then Reattach, then Swapped if a backend was found, and Moved
// at the end of every move.
type Reattacher interface {
	// Reserve begins each move, after the previous one has ended. It returns how
	// long the session must wait before Reattach may be called, so that no
	// backend gets more handshakes than it may. It is called again after that
	// time, before each further search (see Retryable), and may be called at any
	// time before. An error says why the session can't be moved in time. Reserve
	// runs on a goroutine of the engine and must neither block nor call the
	// engine. Unless r.Again is set, r.Attempt is that of the previous move.
	Reserve(r ReattachRequest) (time.Duration, error)
	// Reattach connects to another backend and does the handshake there. It
	// runs in a task of the engine, beside the session, as straight-line code
	// that may wait. parent has no peer and no address: it is only for
	// Network.Dial. Deadlines must be set on the dialled connection; at
	// r.Deadline, or if the session ends first, everything that waits in the
	// task fails. Reattach closes a connection that it doesn't return, and
	// releases its lease. The engine owns the returned one.
	Reattach(parent transport.Conn, r ReattachRequest) (NewBackend, error)
	// Swapped reports that the session is now with backend `to` and that the
	// connection to r.Info.Backend is closed: the caller's lease of that backend
	// must be released. It runs on a goroutine of the engine and must neither
	// block nor call the engine.
	Swapped(r ReattachRequest, to uint32)
	// Moved is called once at the end of each move that Reserve began, on a
	// goroutine of the engine; it must neither block nor call the engine.
	// If err is nil, Swapped was called and the backend has kept the session
	// since, for Times.Probation or to the session's end. If err is ErrRejected,
	// Swapped was called and the backend has not kept the session. After any
	// other error the session was not swapped and the connection that Reattach
	// returned, if any, is closed: the lease of `to`, unless it is 0, must be
	// released. gap is how long the client was not read. If the session ends
	// together with its move, Ended is called after Moved.
	Moved(r ReattachRequest, to uint32, gap time.Duration, err error)
}

// ReattachRequest asks for another backend for a session.
type ReattachRequest struct {
	Info session.Info // Backend is the one that the session leaves
	Why  session.Why
	// Attempt counts the moves of this session in which a backend was searched,
	// including this one; it stays at 255.
	Attempt int
	// Again means that the session has lost its backend and an earlier search
	// in the same move found none.
	Again    bool
	Deadline time.Time
	// Control means that the backend which the session leaves gets notices of
	// moves. The new one must want them too.
	Control bool
}

// NewBackend is the connection to a new backend after the handshake.
type NewBackend struct {
	Conn    transport.Conn // as Network.Dial returned it
	ID      uint32         // of its pool.Backend
	Early   []byte         // read after the handshake; retained
	Control bool           // the backend wants notices, see Start.Control
}

// Retryable is an error of Reserve or Reattach whose cause may be over within
// seconds. A session that has lost its backend then searches again after a
// pause, as long as its move may take. For any other session it is like Err.
type Retryable struct{ Err error }

func (e Retryable) Error() string { return e.Err.Error() }
func (e Retryable) Unwrap() error { return e.Err }

// Why a session was not moved, other than the errors of Reserve and Reattach.
var (
	// ErrNoBoundary: the client did not end its message in time, or the old
	// backend did not take everything that the client had sent before.
	ErrNoBoundary = failure.New(failure.NoBoundary, "the client's stream did not reach a boundary between messages in time")
	// ErrMoveTimeout: Reattach took too long.
	ErrMoveTimeout = failure.New(failure.ReattachTimeout, "no other backend was found in time")
	// ErrMoveWaited: too many others were being moved, so that the session's
	// turn to search for a backend didn't come in time.
	ErrMoveWaited = failure.New(failure.WaitedTooLong, "the session's turn to be moved did not come in time")
	// ErrTakenBack: the move was cancelled before the search.
	ErrTakenBack = failure.New(failure.TakenBack, "the move was cancelled")
	// ErrMessageCut: the old backend was lost in the middle of a message, which
	// no other backend can continue.
	ErrMessageCut = failure.New(failure.MessageCut, "the old backend was lost in the middle of a message to the client")
	// ErrMoveOver: the session, or its client, ended during the move.
	ErrMoveOver = failure.New(failure.SessionEnded, "the session ended before it was moved")

	errPanicked = failure.New(failure.Internal, "panic during the move, see the log")
)

// defaultMoveTimeout replaces a Start.MoveTimeout of 0.
const defaultMoveTimeout = 10 * time.Second

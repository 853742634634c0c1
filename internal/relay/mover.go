package relay

import (
	"errors"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// Mover finds another backend for a session that is being moved to one.
type Mover interface {
	// Delay begins each move, when the one before has ended: it says for how
	// long the session has to wait before Reattach may be called, so that no
	// backend gets more handshakes than it may. It is asked again when that has
	// passed, before each look (see NotNow), and may be asked at any time
	// before. An error is why the session can't be moved in time. It is called
	// on a goroutine of the engine's, and must neither block nor call the
	// engine. m.Attempt is that of the move before, if m.Again is false.
	Delay(m Moving) (time.Duration, error)
	// Reattach connects the session to another backend and does the
	// handshake there. It runs in a task of the engine's, beside the session,
	// as straight-line code that may wait. near has no peer and no address:
	// it is for Network.Dial alone. Deadlines are to be set on the connection
	// dialled; at m.Deadline, or when the session ends first, everything that
	// waits in the task fails. A connection that is not returned is closed by
	// Reattach, and its lease given back; what is returned is the engine's.
	Reattach(near transport.Conn, m Moving) (Found, error)
	// Moved ends each move that Delay has begun, once, on a goroutine of the
	// engine's, and must neither block nor call the engine. Without err the
	// session is with backend `to` now and the connection to m.Info.Backend
	// is closed: that one's lease is to be given back. With err it is not,
	// and whatever Reattach returned is closed: the lease of `to`, unless
	// that is 0, is to be given back. gap is how long the client was not
	// read. A session that ends with its move is told of by Ended as well,
	// before or after.
	Moved(m Moving, to uint32, gap time.Duration, err error)
}

// Moving is a session on its way.
type Moving struct {
	Info session.Info // Backend is the one that it leaves
	Why  session.Why
	// Attempt counts this session's moves for which a backend was looked for,
	// this one included; it stays at 255.
	Attempt int
	// Again: it has lost its backend, and has looked for another in this move
	// before, and there was none to be had.
	Again    bool
	Deadline time.Time
}

// Found is the new backend's connection, its handshake done.
type Found struct {
	Backend transport.Conn // as Network.Dial gave it
	ID      uint32         // its pool.Backend's
	Early   []byte         // what was read of it after the handshake; kept
}

// NotNow is an error of Delay or Reattach that may be over within seconds. A
// session that has lost its backend then looks again after a pause, for as long
// as its move may take; for any other it is as Err.
type NotNow struct{ Err error }

func (e NotNow) Error() string { return e.Err.Error() }
func (e NotNow) Unwrap() error { return e.Err }

// Why a session was not moved, where it isn't what Reattach says.
var (
	// ErrNoBoundary: the client did not end its message in time, or the old
	// backend did not take all that the client had said before.
	ErrNoBoundary = errors.New("the client's stream came to no boundary between messages in time")
	// ErrMoveTimeout: Reattach took too long.
	ErrMoveTimeout = errors.New("no other backend was had in time")
	// ErrMoveWaited: too many others were being moved, so that its turn to
	// look for a backend didn't come in time.
	ErrMoveWaited = errors.New("its turn to be given another backend did not come in time")
	// ErrTakenBack: an Order with Keep came before its turn to look for one.
	ErrTakenBack = errors.New("it is no longer to be moved")
	// ErrMessageCut: the old backend went in the middle of a message, which
	// no other can end.
	ErrMessageCut = errors.New("the old backend went inside a message to the client")
	// ErrMoveOver: the session ends, or its client does, so there is nothing
	// left to be moved.
	ErrMoveOver = errors.New("the session ends before it is moved")

	errPanicked = errors.New("it panicked, see the log")
)

// DefaultMoveTimeout is Start.MoveTimeout where that is 0.
const DefaultMoveTimeout = 10 * time.Second

// Package relay holds sessions: it carries frames between a client and a
// backend from the moment both handshakes are done until both connections are
// closed, and ends each session with one cause.
//
// Two engines do the same: Epoll, for Linux, whose idle sessions cost a fixed
// record and nothing else, and Portable, on goroutines, for every other
// system. What a session is, and every decision about it, is in record.go and
// is shared; an engine only moves bytes and keeps time.
package relay

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// Limits bound a session in time. Zero values mean "never".
type Limits struct {
	Idle              time.Duration // without a message either way
	Lifetime          time.Duration
	KeepaliveInterval time.Duration // of a side's silence, before it is pinged
	KeepaliveTimeout  time.Duration // of further silence, before it is given up
}

// Start is what a session begins with.
type Start struct {
	Info   session.Info
	Limits Limits
	// Early is what was read of each side after its handshake, by
	// session.Side. It is used before Start returns and not retained.
	Early [2][]byte

	// Movable lets the session be given another backend, by an Order or,
	// with OnLoss, when its backend is lost. Without a Mover none is moved.
	Movable, OnLoss bool
	// MoveTimeout bounds how long it waits for its turn to look for that
	// backend, then the search itself, and then how long the old one may take
	// to say the rest of what it has to say.
	MoveTimeout time.Duration
}

// Order tells an engine to close sessions politely: a Close frame at a message
// boundary, its answer awaited on both sides.
type Order struct {
	Select func(session.Info) bool // nil selects all; called on the engine's goroutines
	Cause  session.Cause
	Code   uint16
	Reason Reason
	// Text takes the place of Reason where it isn't empty; at most 123 bytes.
	Text string
	// Most bounds how many sessions are chosen, by their backends; those of
	// backends that are not in it are not. The oldest are, of all there are at
	// that moment. nil is no bound.
	Most map[uint32]int
	// Spread is the time over which the sessions are closed, evenly, in the
	// order of their age; 0 is all at once.
	Spread time.Duration
	// Late leaves alone the sessions that an earlier order has given a turn.
	// Without it, the order for sooner holds. A turn to be moved does not
	// count for an order to close.
	Late bool
	// Keep takes back what earlier orders have planned and not begun, as a
	// move that waits for its turn; of the rest of an Order, only Select is
	// looked at.
	Keep bool

	// Move has each session that is movable given another backend at its
	// turn, and closed as said above only where that fails. An order to close
	// replaces one to move, and is never replaced by one.
	Move bool
	Why  session.Why
	// MoveOnly is Move that leaves a session where it is rather than close it,
	// and chooses only such as are movable and have not been given a turn.
	MoveOnly bool
}

// Reason numbers the texts that our Close frames carry, so that a record can
// hold one.
type Reason uint8

const (
	NoReason Reason = iota
	GoingAway
	BackendLost
	BackendGone
	BackendBroken
	ProtocolError
	Idle
	TooOld
	Moved
	Uneven
)

func (r Reason) String() string {
	switch r {
	case GoingAway:
		return "going away"
	case BackendLost:
		return "server lost"
	case BackendGone:
		return "server removed"
	case BackendBroken:
		return "server protocol error"
	case ProtocolError:
		return "protocol error"
	case Idle:
		return "idle timeout"
	case TooOld:
		return "maximum session lifetime"
	case Moved:
		return "session moved"
	case Uneven:
		return "rebalancing"
	}
	return ""
}

// Close codes, RFC 6455 §7.4.1 and the IANA registry.
const (
	CodeGoingAway      = 1001
	CodeProtocol       = 1002
	CodeInternal       = 1011
	CodeServiceRestart = 1012
	CodeTryAgainLater  = 1013
)

// Engine owns sessions. It is the network as well, since a session lives where
// its two connections were made. All methods may be called from anywhere but
// the engine's own tasks and callbacks, except Start, which is for the task
// that holds the connections, and Dial.
type Engine interface {
	transport.Network
	// SetMover says who finds other backends for sessions, before the first
	// that is movable starts.
	SetMover(m Mover)
	// Start takes over both connections, whose handshakes are done, and
	// returns. On an error they are still the caller's.
	Start(client, backend transport.Conn, s Start) error
	// CloseSessions begins to close sessions and returns how many; they end
	// later, each with Order.Cause unless something else comes first.
	CloseSessions(o Order) int
	// Leaving counts, by backend, the sessions that won't be with it much
	// longer: those that are being moved or closed, or have been given a turn
	// for that. It takes as long as looking at every session.
	Leaving() map[uint32]int
	// Abort ends all sessions now, cutting their connections.
	Abort(cause session.Cause)
	// Each calls f for every session there is. The cause is None while it
	// is open.
	Each(f func(session.Summary))
	// Traffic is what all sessions together sent so far, by session.Side.
	Traffic() [2]session.Traffic
	// Active is the number of sessions.
	Active() int
	// SpareProcessors says whether goroutines outside the engine have work
	// that should not wait for a moment in which the engine has none, see
	// eventloop.Group. At first it is on.
	SpareProcessors(on bool)
	// Trim gives memory back that only a burst of handshakes or sessions
	// needed. It takes as long as looking at every session.
	Trim()
	// Close ends the engine: listeners, tasks, and sessions, which are cut.
	// It returns when nothing of it runs any more.
	Close()
}

// Ended is called once for every session when both its connections are
// closed, on an engine's goroutine: it must not block or call the engine.
type Ended func(session.Summary)

// Times are the engine's own bounds on a session that is being closed.
type Times struct {
	// Linger is how long a closing session may go on without a byte moving:
	// for the answer to a Close frame, or the rest of a half-closed stream.
	Linger time.Duration
	// Boundary is how long a Close of ours waits for the end of the message
	// that is under way before it goes out between two fragments, or, in
	// the middle of a frame, the connection is cut.
	Boundary time.Duration
}

// DefaultTimes are the Times in use.
var DefaultTimes = Times{Linger: 5 * time.Second, Boundary: 5 * time.Second}

package relay

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// Limits bound a session. Zero values mean "never", or no bound.
type Limits struct {
	Idle              time.Duration // without bytes from either side; see Tuning.IdleMessages
	Lifetime          time.Duration
	KeepaliveInterval time.Duration // how long a side is silent before it is pinged
	KeepaliveTimeout  time.Duration // how long it is silent after that before it is given up
	// SlowConsumer is how long bytes may be kept for a side, and the other one not be
	// read, until the side has taken all of them.
	SlowConsumer time.Duration

	// MaxMessage bounds the payload of a client's message, in bytes; see frame.Quota.
	MaxMessage int
	// What a client may send a second, at most MaxRate; as much may come at once.
	MessagesPerSecond, BytesPerSecond int
	// CloseOnExcess closes a session whose client sends more. Otherwise the client
	// isn't read for a while.
	CloseOnExcess bool
	// PassFrames turns off the rules of RFC 6455 for frames, see frame.AllowAll.
	PassFrames bool
}

// Start is what a session begins with.
type Start struct {
	Info   session.Info
	Limits Limits
	// Rules are those that both sides' streams have by their extensions.
	Rules frame.Rules
	// TokenExpires is when the client's token expires, and the session with it; the
	// zero time is never.
	TokenExpires time.Time
	// Early is what was read of each side after its handshake, by
	// session.Side. It is used before Start returns and not retained.
	Early [2][]byte

	// Opaque means that the two sides don't speak WebSocket: all bytes pass as they
	// are, and the end of a stream is passed on while the other one continues. Of the
	// Limits, those for messages, for frames and for slow consumers don't apply;
	// keepalive is TCP's, see probes. Such a session isn't movable. It is closed by the
	// ends of both streams instead of a Close.
	Opaque bool

	// Movable lets the session be given another backend, by a MoveRequest or,
	// with OnLoss, when its backend is lost. Without a Reattacher none is moved.
	Movable, OnLoss bool
	// MoveTimeout limits, one after the other, the wait for the session's turn,
	// the search for the backend, and the time in which the old backend may send
	// the rest and close.
	MoveTimeout time.Duration
	// Control means that the backend wants notices of planned moves, see notice.go.
	Control bool
}

// Reason is the number of a text for our Close frames, since a record has no room
// for the text itself.
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
	TokenExpired
	TooBig
	TooMuch
	TooSlow
	ClientSlow
	BackendSlow
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
	case TooBig:
		return "message too big"
	case TooMuch:
		return "rate limit exceeded"
	case TooSlow:
		return "too slow"
	case ClientSlow:
		return "client too slow"
	case BackendSlow:
		return "server too slow"
	case TokenExpired:
		return "token expired"
	}
	return ""
}

// Close codes, RFC 6455 §7.4.1 and the IANA registry.
const (
	codeNormal         = 1000
	CodeGoingAway      = 1001
	CodeProtocol       = 1002
	CodePolicy         = 1008
	CodeTooBig         = 1009
	CodeInternal       = 1011
	CodeServiceRestart = 1012
	CodeTryAgainLater  = 1013
	codeBadGateway     = 1014
)

// Engine owns sessions. It is also the network, since a session runs where its two
// connections were opened. The engine's own tasks and callbacks must not call its
// methods, except Dial and Start, which is for the task that has the connections.
type Engine interface {
	transport.Network
	// Tune changes settings for all sessions, including the present ones. It may
	// be called at any time.
	Tune(t Tuning)
	// SetReattacher sets the Reattacher. It must be called before the first
	// movable session starts.
	SetReattacher(m Reattacher)
	// Start takes over both connections, whose handshakes are done, and
	// returns. On an error they are still the caller's.
	Start(client, backend transport.Conn, s Start) error
	// CloseSessions begins to close sessions and returns how many; they end
	// later, each with the request's Cause unless something else comes first.
	CloseSessions(CloseRequest) int
	// MoveSessions begins to move sessions and returns how many.
	MoveSessions(MoveRequest) int
	// Cancel cancels what is scheduled for sessions and returns for how many.
	Cancel(CancelRequest) int
	// Leaving counts, by backend, the sessions that will soon leave it: those
	// that are being moved or closed, or are scheduled for that. It visits every
	// session.
	Leaving() map[uint32]int
	// Abort ends all sessions now, cutting their connections.
	Abort(cause session.Cause)
	// Sessions lists at most limit sessions, which must be more than 0, of those
	// that the Filter includes (nil includes all), and returns the Cursor for the
	// next call; 0 means that there are no more. There may be more even if it lists
	// none, since it looks at lookAtMost places at most. A session that exists from
	// the first call to the last is listed once. The cause is None while it is open.
	Sessions(from Cursor, limit int, of *Filter) ([]session.Summary, Cursor)
	// Each calls f for every session, as Sessions lists them.
	Each(f func(session.Summary))
	// Traffic is what all sessions together have sent so far, by session.Side.
	Traffic() [2]session.Traffic
	// BackendTraffic is what the sessions of each backend have sent so far, by
	// backend and session.Side. What a session sent before a move counts for the
	// backend that it had then. A backend for which keep returns false is included
	// once more and then forgotten; it must have no sessions. keep must not block.
	BackendTraffic(keep func(backend uint32) bool) map[uint32][2]session.Traffic
	// Active is the number of sessions that have not ended.
	Active() int
	// Backlog is how many bytes are kept that connections haven't taken.
	Backlog() int64
	// Loops is the number of event loops, which never changes, and the number of
	// processors that the process may use, which changes with its CPU quota.
	Loops() (loops, processors int)
	// SpareProcessors sets whether goroutines outside the engine have work that
	// should not wait until the engine is idle, see eventloop.Group. At first it is
	// on.
	SpareProcessors(on bool)
	// Trim releases memory that only a burst of handshakes or sessions needed. It
	// visits every session.
	Trim()
	// Close ends the engine: it closes listeners, cancels tasks, and cuts the
	// connections of sessions. It returns when nothing of the engine runs any more.
	Close()
}

// Ended is called once for every session when both its connections are closed, and
// after Reattacher.Moved if it was being moved. It runs on a goroutine of the engine
// and must neither block nor call the engine.
type Ended func(session.Summary)

// Times are the engine's own time limits.
type Times struct {
	// Linger is how long a closing session may go on without progress: while it
	// waits for the answer to a Close frame, or the rest of a half-closed stream.
	Linger time.Duration
	// Boundary is how long our Close waits for the end of a message. After that it
	// is sent between two fragments or, in the middle of a frame, the connection
	// is cut.
	Boundary time.Duration
	// Reply is how long the other side may take to answer the messages that a side
	// sent before it violated the protocol. Then both get a Close.
	Reply time.Duration
	// Probation is how long a new backend must keep a session after the swap
	// until the move counts as done; 0 means that there is no probation.
	Probation time.Duration
}

// DefaultTimes are the Times of the balancer.
var DefaultTimes = Times{Linger: 5 * time.Second, Boundary: 5 * time.Second, Reply: time.Second, Probation: time.Second}

// Tuning is what can be changed for all sessions of an engine at once.
type Tuning struct {
	// CloseTimeout replaces Times.Linger while the first Close frame of a session,
	// sent by one of its sides, is unanswered. Without Tune it is Times.Linger.
	CloseTimeout time.Duration
	// IdleMessages makes Limits.Idle count from the last byte of a message. Without
	// it, any bytes count, including pings and pongs.
	IdleMessages bool
	// Unsent limits, for new sessions, how many unsent bytes the kernel keeps for a
	// side; 0 means no limit. Only on Linux.
	Unsent int
	// Backlog limits what is kept for all sides together, in bytes; 0 means no limit.
	// Each event loop has an equal part of it, at least minBacklog. If there is more,
	// the sessions for which bytes have waited the longest are closed.
	Backlog int64
}

// minBacklog is the least that an event loop may keep, two of the largest reads.
const minBacklog = 2 * keepSize

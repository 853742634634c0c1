// Package hub gives several WebSocket servers shared rooms. A client that joins
// a room on one server receives what is published on any of them, sees who else
// is in the room, and after a reconnect continues with the message after the
// last one it received.
//
// [Redis] shares rooms through a Redis server; [Memory] keeps them within one
// process. Both return a [Hub] with the same guarantees:
//
//   - Every message has an ID. The messages of a room have one order, the order
//     of their IDs, for all members on all servers.
//   - A member receives every message after its [JoinOptions.Since], or after it
//     joined, exactly once and in order, as long as it keeps up. If messages may
//     be missing, it receives a [Gap] in their place.
//   - Every message that is delivered is also in the history. Therefore no
//     message is delivered while Redis is unreachable, and Publish returns an
//     error.
//   - Notices are not stored, so they may be lost. They have no order relative to
//     messages.
//
// The package knows nothing about WebSockets or about the load balancer. A
// server calls Join for each connection and runs a loop that writes the events
// of the returned [Membership] to it:
//
//	rooms, err := hub.Redis(hub.RedisOptions{URL: "redis://10.0.0.5:6379"})
//	if err != nil {
//		return err
//	}
//	defer rooms.Close()
//
//	// For each connection:
//	m, err := rooms.Join(ctx, "lobby", hub.Member{ID: user}, hub.JoinOptions{Since: last, History: 50})
//	if err != nil {
//		code, reason := hub.CloseStatus(err)
//		return conn.Close(code, reason)
//	}
//	defer m.Leave()
//	for {
//		event, err := m.Next(ctx)
//		if err != nil {
//			code, reason := hub.CloseStatus(err) // 1013 for a member that is too slow
//			return conn.Close(code, reason)
//		}
//		// Write event to conn.
//	}
//
// The connection's reader calls Publish with what the client sends.
//
// A [Session] is a connection in many rooms, with one loop for all of them.
// [Hub.SendTo] and [Hub.Disconnect] reach a member on any server. Package
// hub/metrics exports [Stats] to Prometheus.
//
// docs/hub.md describes what happens when servers crash or Redis restarts, the
// layout in Redis for servers in other languages, the limits, and measurements.
package hub

import (
	"context"
	"errors"
	"time"
)

// Hub is a set of rooms. Hubs returned by [Redis] share their rooms with all
// hubs that use the same Redis server and prefix; a hub returned by [Memory]
// has rooms of its own. All methods are safe for concurrent use.
//
// Methods with an error result return ErrInvalid or ErrTooLarge for invalid
// arguments, ErrClosed after Close, ErrUnavailable if Redis can't be reached within
// RedisOptions.Timeout, and the error of ctx if it ends before. ctx limits only the
// call itself: a membership doesn't end with the ctx of Join. Methods don't keep or
// modify the slices passed to them.
type Hub interface {
	// Join adds m to room until [Membership.Leave] or Close is called. The
	// first events of the membership are the messages of the history that o
	// asks for.
	//
	// While Redis is unreachable, Join fails at once, and the error has the
	// cause. Join also returns ErrFull if there are too many rooms on this
	// server.
	Join(ctx context.Context, room string, m Member, o JoinOptions) (*Membership, error)

	// Publish appends data to the history of room, delivers it to the members
	// on all servers, and returns its ID. After an error other than
	// ErrInvalid, ErrTooLarge and ErrClosed it isn't known whether the
	// message was published. To retry safely, use PublishWith and a key.
	Publish(ctx context.Context, room string, data []byte) (id string, err error)

	// PublishWith is Publish with options. If o has a key and the history
	// already has a message with this key, from any server, PublishWith changes
	// nothing and returns the ID of that message. So it can be repeated until it
	// succeeds.
	PublishWith(ctx context.Context, room string, data []byte, o PublishOptions) (id string, err error)

	// HistoryOf returns messages of the history of room, oldest first: the first
	// limit messages after the message with the ID since, or the last limit
	// messages if since is empty. If messages after since are no longer in the
	// history, the first event is a Gap, which doesn't count. limit must be at
	// least 1; no more than the History of the room are returned. The caller
	// doesn't need to be a member.
	HistoryOf(ctx context.Context, room, since string, limit int) ([]Event, error)

	// Notify delivers data as a Notice to those who are members now. Use it
	// for what is soon out of date, like typing indicators and cursors. If
	// Redis is unreachable, Notify delivers only to the members on this server
	// and returns ErrUnavailable.
	Notify(ctx context.Context, room string, data []byte) error

	// Members returns the members of room on all servers, each ID once,
	// sorted by ID, without observers. It returns ErrNoPresence if presence is
	// switched off for the room. If the room has members on this server, the list is
	// maintained here and Members doesn't ask Redis. It then includes all
	// events queued so far: a member may start from this list and apply the
	// Joined and Left events that follow.
	Members(ctx context.Context, room string) ([]Member, error)

	// SendTo delivers data as a Direct event to every [Session] with this
	// [Member.ID] on all servers, and to every [Membership] with this ID that
	// isn't part of a session. Like a notice, it isn't stored: it reaches those
	// who are connected now, and may be lost or delivered twice when the
	// connection to Redis breaks. Events sent to a member by one server, one after
	// another, arrive in this order. If Redis is unreachable, SendTo delivers only
	// on this server and returns ErrUnavailable.
	SendTo(ctx context.Context, memberID string, data []byte) error

	// Disconnect ends what SendTo would reach: Next returns the Direct events that
	// are queued and then a [*DisconnectError] with this WebSocket status code and
	// reason (at most 123 bytes of UTF-8), with which the server should close the
	// connection. Codes that a Close frame can't have are ErrInvalid. Disconnect
	// doesn't prevent that the member comes back: refuse its handshakes or joins
	// before. If Redis is unreachable, it ends only those on this server and
	// returns ErrUnavailable; call it again later.
	Disconnect(ctx context.Context, memberID string, code int, reason string) error

	// Ready waits until the hub is connected to Redis: in a Cluster, to each
	// master. If ctx ends before, the error is ErrUnavailable with the cause,
	// for example why Redis refused the last connection. Servers needn't call
	// it: the other methods wait for the first connection, too, see
	// RedisOptions.Timeout. It helps to notice a wrong address or password at the
	// start, or in a health check.
	Ready(ctx context.Context) error

	// Stats returns the hub's state and counters. It never blocks, and still
	// works after Close.
	Stats() Stats

	// Close ends all memberships and sessions with ErrClosed and removes this
	// server's members from their rooms, which the other servers see at once.
	// It waits for Redis at most RedisOptions.Timeout. Further calls return nil.
	Close() error

	// internals is for NewSession. A type that wraps a Hub must embed it.
	internals() (Options, *users, *counters)
}

// Member identifies who joins a room. The same ID may join several times, for
// example in two tabs, or on two servers while a session moves. It is present
// until its last membership ends, and other members see the Data of one of
// its memberships.
type Member struct {
	ID   string // 1 to 256 bytes, any values
	Data []byte // shown to other members, at most 1 KiB; may be nil
}

// JoinOptions selects what a member receives.
type JoinOptions struct {
	// Since is the ID of the last message the client has. The member receives
	// all later messages. If some of them are no longer in the history, it
	// receives a Gap first.
	Since string
	// History is the number of latest messages that the member receives if
	// Since is empty.
	History int
	// Presence enables Joined and Left events, unless the room has no presence
	// (see Options.NoPresence).
	Presence bool
	// Observer makes a membership that others don't see: it isn't in Members, and
	// there are no Joined and Left events for it. It receives everything that
	// other members do, including the events of others with the same Member.ID.
	Observer bool

	place *place // in a session
}

// PublishOptions are options of a message.
type PublishOptions struct {
	// Key is chosen by the caller and unique within the room: at most 256 bytes,
	// any values. A message with a key can safely be published again after an
	// error.
	Key string
	// Sender is who sent the message, usually a Member.ID: at most 256 bytes, any
	// values. It is delivered as Event.Sender. The hub doesn't check that it is a
	// member.
	Sender string
}

// Kind is the type of an event.
type Kind uint8

const (
	// Message is a message published to the room.
	Message Kind = iota + 1
	// Notice is a notice sent by Notify.
	Notice
	// Joined means that a member has joined, or that its Data has changed.
	Joined
	// Left means that a member has left the room on all servers, because it
	// called Leave or because the lease of its server expired.
	Left
	// Gap means that messages may be missing here: they were trimmed from the
	// history, lost by Redis, or dropped because this member was too slow. In
	// the last case other events may have been dropped too, so call Members
	// again.
	Gap
	// Direct was sent to this member by SendTo.
	Direct
	// Entered is the first event of a room in a [Session]: all others of the room
	// follow. It is a good moment to answer the client's request to join, and to
	// call Members.
	Entered
)

// String returns the kind's name, for example "message".
func (k Kind) String() string {
	switch k {
	case Message:
		return "message"
	case Notice:
		return "notice"
	case Joined:
		return "joined"
	case Left:
		return "left"
	case Gap:
		return "gap"
	case Direct:
		return "direct"
	case Entered:
		return "entered"
	}
	return "unknown"
}

// Event is what [Membership.Next], [Session.Next] and [Hub.HistoryOf] return.
type Event struct {
	Kind Kind
	Room string // empty for Direct
	// ID identifies a Message. Clients send it back as JoinOptions.Since. It
	// is opaque: at most 39 bytes, digits and a hyphen.
	ID string
	// Data is the content of a Message, Notice or Direct. All members on this
	// server share it, so it must not be modified.
	Data []byte
	// Sender is PublishOptions.Sender of a Message.
	Sender string
	// Member is who Joined or Left. Its Data is shared, too.
	Member Member
	// Encoded is what Options.Encode has returned for this event. It is shared,
	// so it must not be modified.
	Encoded []byte
}

// Time returns when a Message was published, with a precision of a millisecond, by
// the clock of the Redis server, or for Memory by that of this process. It returns
// the zero time for other kinds.
func (e Event) Time() time.Time {
	id, err := parseID(e.ID)
	if e.Kind != Message || err != nil {
		return time.Time{}
	}
	return time.UnixMilli(int64(id.ms))
}

// Errors may be wrapped; test for them with errors.Is.
var (
	// ErrClosed means that the hub is closed.
	ErrClosed = errors.New("hub: closed")
	// ErrLeft means that Leave was called, or Close of a Session.
	ErrLeft = errors.New("hub: left")
	// ErrSlow means that the membership has ended because its queue was full
	// and the policy is CloseSlow.
	ErrSlow = errors.New("hub: member is too slow")
	// ErrUnavailable means that Redis is unreachable or returned an error.
	ErrUnavailable = errors.New("hub: Redis is unavailable")
	// ErrFull means that this server already has members in Options.MaxRooms
	// rooms.
	ErrFull = errors.New("hub: too many rooms on this server")
	// ErrNoPresence means that presence is switched off for the room.
	ErrNoPresence = errors.New("hub: the room has no presence")
	// ErrJoined means that the session is already in the room.
	ErrJoined = errors.New("hub: session is already in the room")
	// ErrTooManyRooms means that the session is already in
	// SessionOptions.MaxRooms rooms.
	ErrTooManyRooms = errors.New("hub: session is in too many rooms")
	// ErrTooLarge means that data or a name exceeds its limit.
	ErrTooLarge = errors.New("hub: too large")
	// ErrInvalid means that a name is empty, Since isn't a message ID, a limit is
	// too low, or a Close frame can't have the status code or reason.
	ErrInvalid = errors.New("hub: invalid")
)

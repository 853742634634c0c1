// Package hub gives the servers behind a balancer rooms in common: who joins a
// room on any server gets, in one order, what is published to it on any other,
// sees who is there, and can come back after the last message that it has.
//
// [Redis] shares rooms by way of a Redis server, [Memory] within one process;
// both keep to the same contract:
//
//   - A message has an ID, and the messages of a room have one order, that of
//     their IDs, for all members on all servers.
//   - A member has every message from its [JoinOptions.Since] on, or from when
//     it joined, exactly once and in that order, for as long as it keeps up. If
//     something is missing, a [Gap] stands in its place.
//   - What is delivered as a [Message] is in the history. So while Redis can't
//     be reached no message is delivered: Publish says so with its error.
//   - Notices are fleeting: no history, no order, at most once each.
//
// A member is a [Membership], which its connection's writer asks for one
// [Event] after another:
//
//	m, err := rooms.Join(ctx, "lobby", hub.Member{ID: user}, hub.JoinOptions{Since: last, History: 50})
//	if err != nil {
//		code, reason := hub.CloseStatus(err)
//		return conn.Close(code, reason)
//	}
//	defer m.Leave()
//	for {
//		event, err := m.Next(ctx)
//		if err != nil {
//			code, reason := hub.CloseStatus(err) // 1013 for one who is too slow
//			return conn.Close(code, reason)
//		}
//		// write event to conn
//	}
//
// docs/hub.md has what holds when servers crash and Redis restarts, the layout
// in Redis for servers in other languages, limits and figures.
package hub

import (
	"context"
	"errors"
	"time"
)

// Hub is rooms, shared by all hubs that have the same Redis server and prefix,
// or, for Memory, by all who use this one. All methods may be called at once
// from any goroutine.
type Hub interface {
	// Join makes m a member of room until Leave or Close. Its first events
	// are what o asks for of the history. It waits for Redis, where the room
	// is new to this server, and for nothing else.
	//
	// Errors: ErrInvalid, ErrTooLarge, ErrFull, ErrClosed, ErrUnavailable, or
	// that of ctx.
	Join(ctx context.Context, room string, m Member, o JoinOptions) (*Membership, error)

	// Publish appends data to the history of room and delivers it to its
	// members on all servers. When it returns an error other than ErrInvalid,
	// ErrTooLarge or ErrClosed, it isn't known whether the message was
	// published; who wants to try again uses PublishOnce.
	Publish(ctx context.Context, room string, data []byte) (id string, err error)

	// PublishOnce is Publish for a message with a key of the caller's choice,
	// unique in the room: while the history has a message with that key,
	// publishing it again, on whichever server, changes nothing and returns
	// that message's ID. So it can be tried until it succeeds.
	PublishOnce(ctx context.Context, room, key string, data []byte) (id string, err error)

	// Notify delivers data to the members who are there now, as a Notice:
	// typing, cursors, whatever is stale in a moment. While Redis can't be
	// reached those on this server get it all the same, and the error is
	// ErrUnavailable.
	Notify(ctx context.Context, room string, data []byte) error

	// Members lists who is in room, on all servers, each ID once, ordered by
	// ID. For a room that has members on this server the answer is the list
	// kept for it and needs no Redis: it is as new as the newest event of
	// their queues, so a member may set out from it and then apply Joined and
	// Left as they come.
	Members(ctx context.Context, room string) ([]Member, error)

	// Stats tells how the hub is and what it has done. It waits for nothing, and
	// still answers after Close.
	Stats() Stats

	// Close ends all memberships with ErrClosed and tells the other servers
	// that these members have left.
	Close() error
}

// Member is who joins. The same ID may be there several times, in two tabs or
// on two servers while a session moves; it is present from the first to the
// last of them, and its Data is that of one of them.
type Member struct {
	ID   string // 1 to 256 bytes, any
	Data []byte // what others see beside it, at most 1 KiB; may be nil
}

// JoinOptions say what a member is to get.
type JoinOptions struct {
	// Since is the ID of the last message it has. It gets all that came
	// after; if some of it is gone from the history, a Gap comes first.
	Since string
	// History is how many of the last messages it gets when Since is empty.
	History int
	// Presence has Joined and Left delivered.
	Presence bool
}

// Kind says what an event is.
type Kind uint8

const (
	// Message was published to the room.
	Message Kind = iota + 1
	// Notice was sent by Notify.
	Notice
	// Joined says that a member is there who was not, or has other Data than
	// before.
	Joined
	// Left says that a member is gone from all servers, by Leave or because
	// its server's lease ran out.
	Left
	// Gap says that messages may be missing here: trimmed from the history,
	// lost by Redis, or dropped because this member was slow; in that last
	// case other events too, so that Members should be asked anew.
	Gap
)

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
	}
	return "unknown"
}

// Event is what a member gets.
type Event struct {
	Kind Kind
	Room string
	// ID of a Message: what a client sends back as Since. Opaque, at most
	// 39 bytes, digits and a hyphen.
	ID string
	// Data of a Message or Notice. All members on this server share it: it
	// must not be changed.
	Data []byte
	// Member who Joined or Left.
	Member Member
}

// Time is when a Message was published, by the clock that all servers of the
// room share, to the millisecond; zero for other kinds.
func (e Event) Time() time.Time {
	id, err := parseID(e.ID)
	if e.Kind != Message || err != nil {
		return time.Time{}
	}
	return time.UnixMilli(int64(id.ms))
}

var (
	// ErrClosed says that the hub was closed.
	ErrClosed = errors.New("hub: closed")
	// ErrLeft says that Leave was called.
	ErrLeft = errors.New("hub: membership has been left")
	// ErrSlow ends a membership whose queue was full (Policy CloseSlow).
	ErrSlow = errors.New("hub: member reads more slowly than the room writes")
	// ErrUnavailable says that Redis can't be reached or doesn't serve.
	ErrUnavailable = errors.New("hub: Redis is not available")
	// ErrFull says that this server has members in Options.MaxRooms rooms.
	ErrFull = errors.New("hub: too many rooms on this server")
	// ErrTooLarge says that data or a name is over its bound.
	ErrTooLarge = errors.New("hub: too large")
	// ErrInvalid says that a name is empty or Since is not an ID.
	ErrInvalid = errors.New("hub: invalid")
)

// CloseStatus is the WebSocket status and reason to close a connection with
// when one of a hub's methods returned err: 1013 (try again later) for one that
// is too slow and for a hub that can't serve now, 1001 when the hub was closed,
// 1008 and 1009 for what the client should not have sent, 1011 for the rest.
func CloseStatus(err error) (code int, reason string) {
	switch {
	case errors.Is(err, ErrSlow):
		return 1013, "too slow"
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrFull):
		return 1013, "try again later"
	case errors.Is(err, ErrClosed):
		return 1001, "going away"
	case errors.Is(err, ErrTooLarge):
		return 1009, "too large"
	case errors.Is(err, ErrInvalid):
		return 1008, "invalid name or id"
	}
	return 1011, "internal error"
}

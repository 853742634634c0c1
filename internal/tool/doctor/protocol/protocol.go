// Package protocol has what clients of the conformance test say: numbered messages in
// both directions, in the protocol of the server. The test application that a server
// must have for it is described in docs/conformance.md.
package protocol

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Conn is a WebSocket connection. Send may be called by several goroutines.
type Conn interface {
	Send(ctx context.Context, binary bool, data []byte) error
	Receive(ctx context.Context) (binary bool, data []byte, err error)
}

// Protocol says how to begin a session.
type Protocol struct {
	Name string
	// Rooms says that sessions have Join and Tell.
	Rooms bool
	// Target returns the path and query of the handshake for the server's URL.
	Target func(*url.URL) string
	// Start begins a session on a new connection. It returns when the server has
	// accepted it.
	Start func(context.Context, Conn) (Session, error)
}

// All lists the protocols by name.
var All = []Protocol{
	{Name: "socketio", Rooms: true, Target: socketioTarget, Start: startSocketIO},
	{Name: "text", Target: (*url.URL).RequestURI, Start: startText},
}

// Find returns the protocol of a name.
func Find(name string) (Protocol, error) {
	i := slices.IndexFunc(All, func(p Protocol) bool { return p.Name == name })
	if i < 0 {
		return Protocol{}, fmt.Errorf("%q is not a protocol: use %s or %s", name, All[0].Name, All[1].Name)
	}
	return All[i], nil
}

// Session is a client's session. Next is called by one goroutine at a time, the others by
// any. Errors are those of the connection; of Next also an *Error.
type Session interface {
	// Ask sends message n, which the server answers after a delay with Answer.
	Ask(ctx context.Context, n int, delay time.Duration) error
	// Start makes the server send an Event every so often; with 0 it stops.
	Start(ctx context.Context, every time.Duration) error
	// Confirm answers an Event. The server answers that with Confirmed.
	Confirm(ctx context.Context, m Message) error
	// Join enters a room, and Tell has message n of a sender sent to all in it, as Told.
	Join(ctx context.Context, room string) error
	Tell(ctx context.Context, room, from string, n int) error
	// Next returns the next message of the test application.
	Next(ctx context.Context) (Message, error)
}

// Kind is the kind of a Message.
type Kind int

// Kinds of messages.
const (
	Answer    Kind = iota // to N. Last is the number of the message that the server had received before it, 0 for none
	Event                 // N of the server
	Confirmed             // the server has the confirmation of Event N
	Told                  // N of sender From, to a room
)

// Message is a message of the test application to a client.
type Message struct {
	Kind    Kind
	N, Last int
	From    string
	id      int // of an Event, for its confirmation
}

// Error is something that the server mustn't send.
type Error struct {
	What string
	// NewSession means that the server has begun a new session instead of continuing.
	NewSession bool
}

func (e *Error) Error() string { return e.What }

package backend

import (
	"net/http"
	"sync"
)

// The notices of docs/reattach.md: payloads of pings that holdfast sends to
// servers that ask for them in their 101.
const (
	headerControl  = "Holdfast-Control"
	controlVersion = "1"
	noticeLeave    = "holdfast leave"
	noticeBegin    = "holdfast begin"
)

// The Close of a session that moves to another server. The code is "service
// restart" of the registry of RFC 6455 §7.4.2.
const (
	serviceRestart = 1012
	reasonMoved    = "session moved"
)

// Control receives the notices that holdfast sends for one session. They allow a
// session to move to another server without losing anything:
//
//   - Before the session leaves, its server receives a notice. It finishes its
//     work, sends the last replies, stores the session's state, and only then
//     closes the session. A Close frame from the balancer couldn't replace the
//     notice: libraries answer it immediately, and nothing can be sent after
//     that.
//   - When the old server has finished, the new server receives a notice. Now the
//     stored state is final, and the new server may send messages of its own
//     accord.
//
// A notice is a ping, so the WebSocket library must pass pings to Ping:
//
//	control := kit.Control(w.Header(), r)
//	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
//		OnPingReceived: func(_ context.Context, payload []byte) bool {
//			control.Ping(payload)
//			return true // answer with a pong, as for any ping
//		},
//	})
//	...
//	leave := control.Join(func(code int, reason string) {
//		work.Wait() // for replies that are still to be sent
//		save(state)
//		conn.Close(websocket.StatusCode(code), reason)
//	})
//	defer leave()
//
// All methods are safe for concurrent use.
type Control struct {
	kit     *Backend
	offered bool
	slot    *slot // of the handshake; nil if it wasn't served by Handler

	begun chan struct{}
	begin func() // closes begun, once

	mu      sync.Mutex // guards the fields below; locked before Backend.mu
	leaving bool       // the notice was received
	session *session   // nil before Join
}

// Control asks for notices for the session of the handshake r, if the balancer
// offers them. It does so by setting a field in answer, which must be the header
// of the 101 response: the header of the ResponseWriter for coder/websocket and
// most other libraries, the third parameter of Upgrade for gorilla/websocket.
// Control must be called before the library sends the response. It doesn't keep
// r.
//
// A server that asks for notices must pass pings to Ping and close the session
// when it is told to leave. The balancer waits for that for reattach.timeout. All
// servers of a pool should ask for notices, or none: holdfast moves a session
// with notices only to servers that ask for them.
func (b *Backend) Control(answer http.Header, r *http.Request) *Control {
	offered := r.Header.Get(headerControl) == controlVersion
	c := &Control{kit: b, offered: offered, slot: b.slotOf(r), begun: make(chan struct{})}
	c.begin = sync.OnceFunc(func() { close(c.begun) })
	if offered {
		answer.Set(headerControl, controlVersion)
	}
	switch why := Reattach(r).Why; {
	case why == WhyNew, !offered && why == WhyLoss:
		c.begin()
	}
	return c
}

// Notices reports whether the balancer sends notices for this session.
func (c *Control) Notices() bool { return c.offered }

// Join is [Backend.Join] for a session with notices. close is also called, with
// code 1012 and in a goroutine of its own, after Ping has received the notice
// that the session leaves for another server. At that point the balancer sends
// nothing more, and the library has delivered everything that it sent before.
// close must finish the pending work, store the session's state, and send a Close
// frame with the given code. It has reattach.timeout (10 s by default) before the
// balancer closes the session itself.
//
// close is called at most once, either for a move or for a drain of this server.
// It should do the same in both cases.
func (c *Control) Join(close func(code int, reason string)) (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, leave = c.kit.join(c.slot, close)
	if c.leaving {
		c.kit.closeMoved(c.session)
	}
	return leave
}

// Ping must be called with the payload of every ping of the session, by the
// goroutine that reads from the connection. It reports whether the ping was a
// notice. The ping must be answered with a pong in any case. Ping never blocks
// and doesn't keep payload.
func (c *Control) Ping(payload []byte) bool {
	switch string(payload) {
	case noticeLeave:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.leaving = true
		if c.session != nil {
			c.kit.closeMoved(c.session)
		}
	case noticeBegin:
		c.begin()
	default:
		return false
	}
	return true
}

// Begun returns a channel that is closed once this server owns the session: the
// stored state is final, and the server may send messages of its own accord. For
// a new session it is closed from the start. It may never be closed, if the
// session ends or is taken over by another server.
//
// If the balancer doesn't send notices, the channel is closed from the start
// after a loss, and otherwise by Begin.
func (c *Control) Begun() <-chan struct{} { return c.begun }

// Begin closes the channel returned by Begun, unless it is already closed. The
// server must call it for each message that it receives, because only the server
// that owns the session receives any, with or without notices.
func (c *Control) Begin() { c.begin() }

package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/tool/doctor/protocol"
)

const (
	// every is the time between two messages of a client, and between two events that
	// it gets.
	every = 50 * time.Millisecond
	// lateAnswer is how long the server works on some of the messages, so that there is
	// work in progress when a session moves.
	lateAnswer = 200 * time.Millisecond
	slowEvery  = 4  // one of so many messages
	tellEvery  = 20 // after so many messages, there is one to the room
	maxMessage = 1 << 20
)

// wsConn is a protocol.Conn.
type wsConn struct{ *websocket.Conn }

func (c wsConn) Send(ctx context.Context, binary bool, data []byte) error {
	kind := websocket.MessageText
	if binary {
		kind = websocket.MessageBinary
	}
	return c.Write(ctx, kind, data)
}

func (c wsConn) Receive(ctx context.Context) (binary bool, data []byte, err error) {
	kind, data, err := c.Read(ctx)
	return kind == websocket.MessageBinary, data, err
}

// client is one client of the servers.
type client struct {
	*ledger
	conn    *websocket.Conn
	session protocol.Session
	room    string
	tells   atomic.Int64 // messages to the room

	ctx      context.Context // of the session
	cancel   context.CancelFunc
	running  sync.WaitGroup
	stopping atomic.Bool
	over     chan struct{} // closed when the session has ended
	sending  sync.Mutex    // held while it sends
	quiet    bool          // send nothing more; requires sending
}

// refusal is a response to the handshake other than 101.
type refusal struct{ status int }

func (r *refusal) Error() string {
	return fmt.Sprintf("the handshake through the balancer is answered with %d %s", r.status, http.StatusText(r.status))
}

// dial opens a session by the balancer.
func (t *test) dial(ctx context.Context, name string) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, t.o.Timeout)
	defer cancel()
	header := http.Header{}
	host := t.o.servers[0].Host
	for _, field := range t.o.Header {
		if strings.EqualFold(field[0], "Host") {
			host = field[1]
			continue
		}
		header.Add(field[0], field[1])
	}
	conn, res, err := websocket.Dial(ctx, "ws://"+t.address+t.target, &websocket.DialOptions{
		HTTPClient: t.http, HTTPHeader: header, Host: host, Subprotocols: t.o.Subprotocol,
	})
	switch {
	case err != nil && res != nil && res.StatusCode != http.StatusSwitchingProtocols:
		return nil, &refusal{res.StatusCode}
	case err != nil:
		return nil, err
	}
	conn.SetReadLimit(maxMessage)
	session, err := t.o.protocol.Start(ctx, wsConn{conn})
	if err != nil {
		conn.CloseNow()
		return nil, err
	}
	c := &client{ledger: newLedger(t.tally, name, t.o.oldState), conn: conn, session: session, over: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// begin makes the client and its server send.
func (c *client) begin(room string) error {
	c.room = room
	if room != "" {
		if err := c.session.Join(c.ctx, room); err != nil {
			return err
		}
	}
	if err := c.session.Start(c.ctx, every); err != nil {
		return err
	}
	c.running.Go(c.read)
	c.running.Go(c.write)
	return nil
}

// read reads until the session ends.
func (c *client) read() {
	defer close(c.over)
	defer c.conn.CloseNow()
	for {
		m, err := c.session.Next(c.ctx)
		if err != nil {
			if !c.stopping.Load() {
				c.end(err)
			}
			return
		}
		c.receive(m, time.Now())
		if m.Kind == protocol.Event {
			_ = c.session.Confirm(c.ctx, m) // an error comes to Next, too
		}
	}
}

// end records that the session has ended.
func (c *client) end(err error) {
	var wrong *protocol.Error
	if errors.As(err, &wrong) && wrong.NewSession {
		c.tally.mu.Lock()
		c.tally.rude = true
		c.tally.mu.Unlock()
	}
	c.tally.add(ended, 1, "%s got %s", c.name, describe(err))
}

// describe describes how a connection ended.
func describe(err error) string {
	var wrong *protocol.Error
	var closed websocket.CloseError
	switch {
	case errors.As(err, &wrong):
		return wrong.What
	case errors.As(err, &closed) && closed.Reason != "":
		return fmt.Sprintf("a Close with %d (%s)", closed.Code, closed.Reason)
	case errors.As(err, &closed):
		return fmt.Sprintf("a Close with %d", closed.Code)
	}
	return "an end of the connection without a Close frame: " + err.Error()
}

// write sends until the session ends.
func (c *client) write() {
	for i := 1; ; i++ {
		// Not at the same time as the others.
		select {
		case <-time.After(every/2 + rand.N(every)):
		case <-c.over:
			return
		}
		c.sending.Lock()
		if !c.quiet {
			delay := time.Duration(0)
			if i%slowEvery == 0 {
				delay = rand.N(lateAnswer)
			}
			_ = c.session.Ask(c.ctx, c.ask(time.Now()), delay)
			if c.room != "" && i%tellEvery == 0 {
				_ = c.session.Tell(c.ctx, c.room, c.name, int(c.tells.Add(1)))
			}
		}
		c.sending.Unlock()
	}
}

// beQuiet makes the client, and then the server, send nothing more.
func (c *client) beQuiet() {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.quiet = true
	_ = c.session.Start(c.ctx, 0)
}

// isOver reports whether the session has ended.
func (c *client) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// stop ends the session.
func (c *client) stop() {
	c.stopping.Store(true)
	if !c.isOver() {
		_ = c.conn.Close(websocket.StatusNormalClosure, "")
	}
	c.cancel()
	c.conn.CloseNow()
	c.running.Wait()
}

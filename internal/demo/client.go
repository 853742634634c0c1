package demo

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

const (
	// clientQueue is how far a client may lag behind before it is closed, to
	// resume later. It holds the whole history for a start.
	clientQueue = 2 * historySize
	// hubWait is how long a new client waits for a server without a hub.
	hubWait = 5 * time.Second
	// A client may post messageRate messages a second, messageBurst at once.
	// More are not refused: they are read later.
	messageRate  = 5
	messageBurst = 10
)

// fromClient is what a page sends.
type fromClient struct {
	Type string `json:"type"` // "post" or "crash"
	post
}

// toClient is what a page gets, by its type.
type (
	// welcome is the first message of a connection.
	welcome struct {
		Type   string `json:"type"` // "welcome"
		Server string `json:"server"`
		PID    int    `json:"pid"`
		Epoch  string `json:"epoch"`
		Lost   uint64 `json:"lost"` // missed messages that are gone
	}
	delivery struct {
		Type string `json:"type"` // "message"
		message
	}
	// refusal answers a post that will never be delivered.
	refusal struct {
		Type   string `json:"type"` // "refused"
		Key    string `json:"key"`
		Reason string `json:"reason"`
	}
)

// client is one WebSocket connection of a page.
type client struct {
	conn  *websocket.Conn
	queue chan message
	last  uint64 // newest message offered; guarded by the room's lock

	ended  chan struct{} // closed by the first call of end
	once   sync.Once
	code   websocket.StatusCode
	reason string
}

// end has the connection closed with code. Only the first call counts.
func (c *client) end(code websocket.StatusCode, reason string) {
	c.once.Do(func() {
		c.code, c.reason = code, reason
		close(c.ended)
	})
}

// offer queues m unless the client has it. It is called with the room's lock.
func (c *client) offer(m message) {
	if m.ID <= c.last {
		return
	}
	select {
	case <-c.ended:
		// After a message that found no room there must be none: the client
		// could not know of the gap.
		return
	default:
	}
	select {
	case c.queue <- m:
		c.last = m.ID
	default:
		c.end(websocket.StatusTryAgainLater, "too slow; resume to get the rest")
	}
}

// chat serves /ws?epoch=E&after=N, where N is the newest message the page has
// and E the epoch it is from. Accept checks that Origin is this host, so that
// no other site's page can chat or crash the server in its visitor's name.
func (s *server) chat(w http.ResponseWriter, r *http.Request) {
	waiting, cancel := context.WithTimeout(r.Context(), hubWait)
	err := s.room.wait(waiting)
	cancel()
	if err != nil {
		http.Error(w, "the server has no connection to its hub; try again", http.StatusServiceUnavailable)
		return
	}
	query := r.URL.Query()
	after, err := strconv.ParseUint(query.Get("after"), 10, 64)
	if err != nil {
		after = 0 // as a page that comes for the first time
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept answered
	}
	conn.SetReadLimit(maxFrame)
	c := &client{conn: conn, queue: make(chan message, clientQueue), ended: make(chan struct{})}
	epoch, lost := s.room.join(c, query.Get("epoch"), after)

	var writing sync.WaitGroup
	writing.Go(func() {
		c.write(s.hard, welcome{Type: "welcome", Server: s.name, PID: os.Getpid(), Epoch: epoch, Lost: lost})
	})
	s.read(c)
	s.room.leave(c)
	c.end(websocket.StatusNormalClosure, "")
	writing.Wait()
}

// write sends what is queued until the client ends, and closes it.
func (c *client) write(ctx context.Context, first welcome) {
	c.send(ctx, first)
	for {
		select {
		case <-c.ended:
			// It waits for the peer's Close, or for the reader to fail.
			_ = c.conn.Close(c.code, c.reason)
			return
		case m := <-c.queue:
			c.send(ctx, delivery{Type: "message", message: m})
		}
	}
}

// send writes v. A failed write closes the connection.
func (c *client) send(ctx context.Context, v any) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if wsjson.Write(ctx, c.conn, v) != nil {
		c.end(websocket.StatusGoingAway, "")
	}
}

// read handles what the page sends until the connection has failed or closed.
func (s *server) read(c *client) {
	pace := pacer{rate: messageRate, burst: messageBurst}
	for {
		kind, data, err := c.conn.Read(s.hard)
		if err != nil {
			return
		}
		pace.wait(c.ended)
		var in fromClient
		if kind != websocket.MessageText || json.Unmarshal(data, &in) != nil {
			c.end(websocket.StatusPolicyViolation, "not a JSON text message")
			continue // to read the peer's Close
		}
		switch in.Type {
		case "post":
			s.take(c, in.post)
		case "crash":
			s.crash()
		default:
			c.end(websocket.StatusPolicyViolation, "unknown message type")
		}
	}
}

func (s *server) take(c *client, p post) {
	p, err := p.clean()
	if err != nil {
		c.send(s.hard, refusal{Type: "refused", Key: p.Key, Reason: err.Error()})
		return
	}
	if s.link.post(p) != nil {
		c.end(websocket.StatusTryAgainLater, "the server lost its hub")
	}
}

// pacer spreads events: burst of them at once, rate a second in the long run.
type pacer struct {
	rate, burst float64
	used        float64   // of burst, at the time of the last event
	at          time.Time // of the last event
}

// wait returns when the next event is due, or done is closed.
func (p *pacer) wait(done <-chan struct{}) {
	now := time.Now()
	p.used = max(0, p.used-now.Sub(p.at).Seconds()*p.rate) + 1
	p.at = now
	if p.used <= p.burst {
		return
	}
	select {
	case <-time.After(time.Duration((p.used - p.burst) / p.rate * float64(time.Second))):
	case <-done:
	}
}

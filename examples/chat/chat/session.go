package chat

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/backend"
	"github.com/holdfast-ws/holdfast/hub"
)

// writeTimeout limits how long it may take to write a message to a page.
const writeTimeout = 10 * time.Second

// session is the connection of a page. Its reader handles the page's requests one
// after another, and another goroutine delivers the room's events. Both write to
// conn, which is safe for concurrent writes.
type session struct {
	server  *Server
	conn    *websocket.Conn
	from    backend.Session
	control *backend.Control
	ctx     context.Context // ends with run
	cancel  context.CancelFunc
	greet   func() error // sends hello, once

	storing sync.Mutex // held while the session is stored again; guards ending
	ending  bool       // the session is closing, and another server may own it

	// Used only by the reader.
	who        Who             // zero until it is known
	membership *hub.Membership // in who.Room; nil before join
	presence   *hub.Membership // keeps the member present while the session moves
	delivering sync.WaitGroup  // the goroutine that runs deliver
}

// newSession returns a session that has no conn yet.
func newSession(s *Server, from backend.Session) *session {
	ctx, cancel := context.WithCancel(context.Background())
	c := &session{server: s, from: from, ctx: ctx, cancel: cancel}
	c.greet = sync.OnceValue(func() error {
		return c.send(Hello{Type: "hello", Server: s.name, Session: from.ID, Reattach: from.Why})
	})
	return c
}

// end closes the connection with a Close frame, and then run returns. If the
// session moves to another server, nothing is lost: end is called after the reader
// has answered all requests of the page, the state was stored before the page was
// told about it, and the page asks the new server for the room's messages after the
// last one that it has.
func (c *session) end(code int, reason string) {
	c.storing.Lock()
	c.ending = true
	c.storing.Unlock()
	_ = c.conn.Close(websocket.StatusCode(code), reason)
}

// storeAgain stores the session again after a gap: if messages were lost, the
// session may be lost too.
func (c *session) storeAgain(who Who) {
	c.storing.Lock()
	defer c.storing.Unlock()
	if !c.ending && c.from.ID != "" {
		_ = c.server.sessions.Save(c.ctx, c.from.ID, who)
	}
}

// begin sends hello once this server owns the session. A balancer without notices
// can't report that; it holds back what is sent before.
func (c *session) begin() {
	if c.control.Notices() {
		select {
		case <-c.control.Begun():
		case <-c.ctx.Done():
			return
		}
	}
	_ = c.greet() // an error ends run too
}

// run serves the session until its connection has ended. A session that comes from
// another server may still be served by it for a while, so nothing is sent to the
// page until the session has begun.
func (c *session) run() {
	defer c.leaveRoom()
	defer c.releasePresence()
	var background sync.WaitGroup
	defer background.Wait()
	defer c.cancel()
	background.Go(c.begin)
	background.Go(c.touch)
	pace := pacer{rate: messageRate, burst: messageBurst}
	for {
		kind, data, err := c.conn.Read(c.ctx)
		if err != nil {
			return
		}
		c.control.Begin() // for balancers without notices
		if c.greet() != nil {
			return
		}
		pace.wait(c.ctx.Done())
		var in Request
		if kind != websocket.MessageText || json.Unmarshal(data, &in) != nil {
			c.end(1008, "not a JSON text message")
			return
		}
		if err := c.answer(in); err != nil {
			code, reason := closeStatus(err)
			c.end(code, reason)
			return
		}
	}
}

// holdPresence makes the member present on this server before the other server
// removes it, so that others don't see it leave and join. If that fails because
// Redis is unreachable, they do.
func (c *session) holdPresence(w Who) {
	c.presence, _ = c.server.rooms.Join(c.ctx, w.Room, w.asMember(), hub.JoinOptions{})
}

func (c *session) releasePresence() {
	if c.presence != nil {
		c.presence.Leave()
		c.presence = nil
	}
}

// violation is an error for a request that breaks the protocol.
type violation string

func (v violation) Error() string { return string(v) }

func closeStatus(err error) (code int, reason string) {
	if v := violation(""); errors.As(err, &v) {
		return 1008, string(v)
	}
	return hub.CloseStatus(err)
}

// answer handles a request. An error ends the session.
func (c *session) answer(in Request) error {
	if in.Type == "join" {
		who, err := in.Who.clean()
		if err != nil {
			return violation(err.Error())
		}
		if c.from.ID != "" {
			if err := c.server.sessions.Save(c.ctx, c.from.ID, who); err != nil {
				return errors.Join(hub.ErrUnavailable, err)
			}
		}
		c.who = who
		return c.join(in.Since)
	}
	if c.who.Room == "" && c.from.Reattached() {
		// By now the other server has stored the final state.
		who, err := c.server.sessions.Load(c.ctx, c.from.ID)
		if err != nil {
			return errors.Join(hub.ErrUnavailable, err)
		}
		c.who = who
	}
	if c.who.Room == "" {
		return violation("join comes first")
	}
	switch in.Type {
	case "resume":
		return c.join(in.Since)
	case "post":
		return c.post(in)
	case "typing":
		return c.typing()
	}
	return violation("unknown message type")
}

// join leaves the current room and joins that of c.who.
func (c *session) join(since string) error {
	c.leaveRoom()
	membership, err := c.server.rooms.Join(c.ctx, c.who.Room, c.who.asMember(), hub.JoinOptions{Since: since, History: historySize, Presence: true})
	if err != nil {
		return err
	}
	c.membership = membership
	c.releasePresence()
	members, err := c.server.rooms.Members(c.ctx, c.who.Room)
	if err != nil {
		return err
	}
	joined := Joined{Type: "joined", Room: c.who.Room, People: make([]Person, len(members))}
	for i, m := range members {
		joined.People[i] = asPerson(m)
		if m.ID == c.who.Member {
			joined.People[i].Name = c.who.Name // the list may still have the name of an earlier membership
		}
	}
	if err := c.send(joined); err != nil {
		return err
	}
	who := c.who
	c.delivering.Go(func() { c.deliver(membership, who) })
	return nil
}

func (c *session) leaveRoom() {
	if c.membership != nil {
		c.membership.Leave()
		c.delivering.Wait()
		c.membership = nil
	}
}

// deliver sends the room's events until the membership ends.
func (c *session) deliver(membership *hub.Membership, who Who) {
	for {
		e, err := membership.Next(c.ctx)
		switch {
		case errors.Is(err, hub.ErrLeft), c.ctx.Err() != nil:
			return
		case err != nil:
			c.end(hub.CloseStatus(err)) // of a *hub.DisconnectError: what the operator has chosen
			return
		}
		if e.Kind == hub.Gap {
			c.storeAgain(who)
		}
		if message := toPage(e); message != nil && c.send(message) != nil {
			c.cancel()
			return
		}
	}
}

// toPage returns nil for events that the protocol doesn't have.
func toPage(e hub.Event) any {
	switch e.Kind {
	case hub.Message:
		return Message{Type: "message", ID: e.ID, Time: e.Time().UnixMilli(), Post: e.Data}
	case hub.Notice:
		return json.RawMessage(e.Data)
	case hub.Joined:
		return Presence{Type: "here", Person: asPerson(e.Member)}
	case hub.Left:
		return Presence{Type: "gone", Person: asPerson(e.Member)}
	case hub.Gap:
		return Gap{Type: "gap"}
	}
	return nil
}

func (c *session) post(in Request) error {
	text, err := in.cleanText()
	if err != nil {
		return c.send(Refused{Type: "refused", Key: in.Key, Reason: err.Error()})
	}
	data, err := json.Marshal(Post{Key: in.Key, Member: c.who.Member, Name: c.who.Name, Text: text, Server: c.server.name})
	if err != nil {
		return err
	}
	// The prefix prevents a member from using the keys of another.
	o := hub.PublishOptions{Key: c.who.Member + "/" + in.Key, Sender: c.who.Member}
	_, err = c.server.rooms.PublishWith(c.ctx, c.who.Room, data, o)
	if errors.Is(err, hub.ErrUnavailable) {
		return c.send(Refused{Type: "refused", Key: in.Key, Reason: "messages can't be stored now", Retry: true})
	}
	return err
}

func (c *session) typing() error {
	data, err := json.Marshal(Typing{Type: "typing", Person: Person{c.who.Member, c.who.Name}})
	if err != nil {
		return err
	}
	err = c.server.rooms.Notify(c.ctx, c.who.Room, data)
	if errors.Is(err, hub.ErrUnavailable) {
		return nil
	}
	return err
}

// send writes v as JSON. If that fails, the connection is closed.
func (c *session) send(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, writeTimeout)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageText, data)
}

// touch extends the TTL of the stored session while the session lasts.
func (c *session) touch() {
	if c.from.ID == "" {
		return
	}
	every := time.NewTicker(SessionTTL / 3)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			_ = c.server.sessions.Touch(c.ctx, c.from.ID) // if it fails, there are two more attempts before the TTL ends
		case <-c.ctx.Done():
			return
		}
	}
}

func (w Who) asMember() hub.Member { return hub.Member{ID: w.Member, Data: []byte(w.Name)} }

func asPerson(m hub.Member) Person { return Person{m.ID, string(m.Data)} }

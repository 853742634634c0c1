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

// writeTimeout is how long a page may take to read a message.
const writeTimeout = 10 * time.Second

// session is one page's connection. Its reader does all that the page asks
// for, one after another; a goroutine delivers what the room brings. Both
// write, and conn takes turns.
type session struct {
	server *Server
	conn   *websocket.Conn
	from   backend.Session
	ctx    context.Context // ends with run
	cancel context.CancelFunc

	// Of the reader.
	who       Who             // zero until it is known
	place     *hub.Membership // in who.Room, nil before
	hold      *hub.Membership // keeps the member present while the session moves
	delivered sync.WaitGroup  // deliver, of place
}

// newSession makes a session that has no conn yet.
func newSession(s *Server, from backend.Session) *session {
	ctx, cancel := context.WithCancel(context.Background())
	return &session{server: s, from: from, ctx: ctx, cancel: cancel}
}

// end closes the connection with a Close frame; run then returns.
func (c *session) end(code int, reason string) {
	_ = c.conn.Close(websocket.StatusCode(code), reason)
}

// run serves the session until its connection has ended.
//
// If it comes from another server, that may still have the page at this time:
// what is sent now comes after its last word, and what the page says comes here
// after that.
func (c *session) run() {
	defer c.leaveRoom()
	defer c.letGo()
	defer c.cancel()
	if c.send(Hello{Type: "hello", Server: c.server.name, Session: c.from.ID, Reattach: c.from.Why}) != nil {
		return
	}
	go c.touch()
	pace := pacer{rate: messageRate, burst: messageBurst}
	for {
		kind, data, err := c.conn.Read(c.ctx)
		if err != nil {
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

// holdPlace has the others see no leaving and coming back while the session
// moves. Without it, which is when Redis is away, they do.
func (c *session) holdPlace(w Who) {
	c.hold, _ = c.server.rooms.Join(c.ctx, w.Room, w.asMember(), hub.JoinOptions{})
}

func (c *session) letGo() {
	if c.hold != nil {
		c.hold.Leave()
		c.hold = nil
	}
}

// violation is what a page should not have sent.
type violation string

func (v violation) Error() string { return string(v) }

func closeStatus(err error) (code int, reason string) {
	if v := violation(""); errors.As(err, &v) {
		return 1008, string(v)
	}
	return hub.CloseStatus(err)
}

// answer does what the page asks for. An error ends the session.
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
		// By now the other server has said and saved its last.
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

// join enters the room of c.who and leaves the one before.
func (c *session) join(since string) error {
	c.leaveRoom()
	place, err := c.server.rooms.Join(c.ctx, c.who.Room, c.who.asMember(), hub.JoinOptions{Since: since, History: historySize, Presence: true})
	if err != nil {
		return err
	}
	c.place = place
	c.letGo()
	members, err := c.server.rooms.Members(c.ctx, c.who.Room)
	if err != nil {
		return err
	}
	joined := Joined{Type: "joined", Room: c.who.Room, People: make([]Person, len(members))}
	for i, m := range members {
		joined.People[i] = asPerson(m)
		if m.ID == c.who.Member {
			joined.People[i].Name = c.who.Name // the place it has left may count yet
		}
	}
	if err := c.send(joined); err != nil {
		return err
	}
	who := c.who
	c.delivered.Go(func() { c.deliver(place, who) })
	return nil
}

func (c *session) leaveRoom() {
	if c.place != nil {
		c.place.Leave()
		c.delivered.Wait()
		c.place = nil
	}
}

// deliver sends what the room brings to who until the membership ends.
func (c *session) deliver(place *hub.Membership, who Who) {
	for {
		e, err := place.Next(c.ctx)
		switch {
		case errors.Is(err, hub.ErrLeft), c.ctx.Err() != nil:
			return
		case err != nil:
			c.end(hub.CloseStatus(err))
			return
		}
		if e.Kind == hub.Gap && c.from.ID != "" {
			// What has lost messages may have lost the session too.
			_ = c.server.sessions.Save(c.ctx, c.from.ID, who)
		}
		if c.send(toPage(e)) != nil {
			c.cancel()
			return
		}
	}
}

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
	}
	return Gap{Type: "gap"}
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
	// With the member before it, nobody can take the key of somebody else.
	_, err = c.server.rooms.PublishOnce(c.ctx, c.who.Room, c.who.Member+"/"+in.Key, data)
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

// send writes v. A failed write has closed the connection.
func (c *session) send(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, writeTimeout)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageText, data)
}

// touch keeps the session known for as long as it lasts.
func (c *session) touch() {
	if c.from.ID == "" {
		return
	}
	every := time.NewTicker(SessionTTL / 3)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			_ = c.server.sessions.Touch(c.ctx, c.from.ID) // two more chances
		case <-c.ctx.Done():
			return
		}
	}
}

func (w Who) asMember() hub.Member { return hub.Member{ID: w.Member, Data: []byte(w.Name)} }

func asPerson(m hub.Member) Person { return Person{m.ID, string(m.Data)} }

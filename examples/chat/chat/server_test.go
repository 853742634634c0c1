package chat

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/holdfast-ws/holdfast/backend"
	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

const longTimeout = 2 * time.Minute

// cluster has the rooms and sessions shared by several chat servers.
type cluster struct {
	rooms    hub.Hub
	sessions Sessions
}

func newCluster(t *testing.T) cluster {
	c := cluster{hub.Memory(hub.Options{}), MemorySessions()}
	t.Cleanup(func() { c.rooms.Close() })
	return c
}

type testServer struct {
	*httptest.Server
	kit *backend.Backend
}

func (c cluster) serve(t *testing.T, name string) testServer {
	quiet := slog.New(slog.DiscardHandler)
	kit := backend.New(backend.Options{Notice: -1, DrainTimeout: longTimeout, Log: quiet})
	s := New(Options{Name: name, Kit: kit, Rooms: c.rooms, Sessions: c.sessions, Log: quiet})
	server := testServer{httptest.NewServer(kit.Handler(s.Handler())), kit}
	t.Cleanup(func() {
		testkit.Eventually(t, "no sessions", func() bool { return kit.Sessions() == 0 })
		server.Close()
	})
	return server
}

// frame is a message of any type from a server.
type frame struct {
	Type, Server, Session, Reattach, Room string
	People                                []Person
	ID                                    string
	Time                                  int64
	Post                                  Post
	Person
	Key, Reason string
	Retry       bool
}

// page is a client of a server.
type page struct {
	t    *testing.T
	ctx  context.Context
	conn *websocket.Conn
}

// fromBalancer returns the headers that a balancer adds to a handshake.
func fromBalancer(session, why string, attempt int) http.Header {
	h := http.Header{"Holdfast-Session": {session}}
	if why != "" {
		h.Set("Holdfast-Reattach", why)
		h.Set("Holdfast-Attempt", strconv.Itoa(attempt))
	}
	return h
}

func dial(t *testing.T, s testServer, h http.Header) (*page, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), longTimeout)
	t.Cleanup(cancel)
	conn, res, err := websocket.Dial(ctx, s.URL+"/ws", &websocket.DialOptions{HTTPHeader: h})
	if err != nil {
		return nil, res, err
	}
	t.Cleanup(func() { conn.CloseNow() })
	return &page{t, ctx, conn}, res, nil
}

func open(t *testing.T, s testServer, h http.Header) *page {
	t.Helper()
	p, _, err := dial(t, s, h)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// enter opens a page and joins a room. name is also the member's ID.
func enter(t *testing.T, s testServer, h http.Header, name, room, since string) (*page, frame) {
	t.Helper()
	p := open(t, s, h)
	p.want("hello")
	p.send(Request{Type: "join", Who: Who{name, name, room}, Since: since})
	return p, p.want("joined")
}

func (p *page) send(r Request) {
	p.t.Helper()
	if err := wsjson.Write(p.ctx, p.conn, r); err != nil {
		p.t.Fatal(err)
	}
}

func (p *page) post(key, text string) {
	p.t.Helper()
	p.send(Request{Type: "post", Key: key, Text: text})
}

// want reads the next message, which must have this type.
func (p *page) want(kind string) (f frame) {
	p.t.Helper()
	_, data, err := p.conn.Read(p.ctx)
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil || f.Type != kind {
		p.t.Fatalf("got %s (%v), want %q", data, err, kind)
	}
	return f
}

func (p *page) wantText(text string) frame {
	p.t.Helper()
	f := p.want("message")
	if f.Post.Text != text {
		p.t.Fatalf("got %+v, want %q", f, text)
	}
	return f
}

// wantClose reads until the server's Close, which must have this code.
func (p *page) wantClose(code websocket.StatusCode) {
	p.t.Helper()
	for {
		_, _, err := p.conn.Read(p.ctx)
		if err == nil {
			continue
		}
		if websocket.CloseStatus(err) != code {
			p.t.Fatalf("closed with %v, want %v", err, code)
		}
		return
	}
}

func TestTwoPagesTalk(t *testing.T) {
	c := newCluster(t)
	one, two := c.serve(t, "chat-1"), c.serve(t, "chat-2")
	ann, joined := enter(t, one, nil, "Ann", "lobby", "")
	if len(joined.People) != 1 || joined.People[0] != (Person{"Ann", "Ann"}) || joined.Room != "lobby" {
		t.Errorf("Ann joined %+v", joined)
	}
	bob, joined := enter(t, two, nil, "Bob", "lobby", "")
	if len(joined.People) != 2 {
		t.Errorf("Bob joined %+v", joined)
	}
	if here := ann.want("here"); here.Person != (Person{"Bob", "Bob"}) {
		t.Errorf("joined: %+v", here)
	}

	bob.send(Request{Type: "typing"})
	if typing := ann.want("typing"); typing.Name != "Bob" {
		t.Errorf("typing: %+v", typing)
	}
	bob.want("typing") // his own event, which the page ignores
	bob.post("k1", "<b>hello</b>")
	for _, p := range []*page{ann, bob} {
		m := p.wantText("<b>hello</b>")
		if want := (Post{"k1", "Bob", "Bob", "<b>hello</b>", "chat-2"}); m.Post != want || m.ID == "" || m.Time == 0 {
			t.Errorf("%+v, want %+v", m, want)
		}
	}

	// Bob's key again changes nothing. The same key of another member is another
	// message.
	bob.post("k1", "hello again")
	ann.post("k1", "hello Bob")
	for _, p := range []*page{ann, bob} {
		p.wantText("hello Bob")
	}

	bob.conn.Close(websocket.StatusNormalClosure, "")
	if gone := ann.want("gone"); gone.Member != "Bob" {
		t.Errorf("left: %+v", gone)
	}
}

func TestHistoryOfNewAndReturningPages(t *testing.T) {
	c := newCluster(t)
	for i := range historySize + 10 {
		if _, err := c.rooms.Publish(t.Context(), "lobby", []byte(`{"key":"k","text":"`+strconv.Itoa(i)+`"}`)); err != nil {
			t.Fatal(err)
		}
	}
	s := c.serve(t, "chat-1")
	ann, _ := enter(t, s, nil, "Ann", "lobby", "")
	var since string
	for i := range historySize {
		if m := ann.wantText(strconv.Itoa(i + 10)); i == 20 {
			since = m.ID
		}
	}
	bob, _ := enter(t, s, nil, "Bob", "lobby", since)
	for i := 31; i < historySize+10; i++ {
		bob.wantText(strconv.Itoa(i))
	}
	lost, _ := enter(t, s, nil, "Eve", "lobby", "1-0")
	lost.want("gap")
	lost.wantText("0")
}

func TestJoinAnotherRoom(t *testing.T) {
	c := newCluster(t)
	s := c.serve(t, "chat-1")
	ann, _ := enter(t, s, nil, "Ann", "lobby", "")
	bob, _ := enter(t, s, nil, "Bob", "lobby", "")
	ann.want("here")
	bob.send(Request{Type: "join", Who: Who{"Bob", "Bob", "attic"}})
	if joined := bob.want("joined"); joined.Room != "attic" || len(joined.People) != 1 {
		t.Errorf("joined %+v", joined)
	}
	ann.want("gone")
	ann.post("a", "in the lobby")
	ann.wantText("in the lobby")
	bob.post("b", "in the attic")
	bob.wantText("in the attic")
}

// An operator's program with the same rooms can close a member's connections. Events
// that the protocol doesn't have aren't sent to the page.
func TestOperatorDisconnectsMember(t *testing.T) {
	c := newCluster(t)
	one, two := c.serve(t, "chat-1"), c.serve(t, "chat-2")
	phone, _ := enter(t, one, nil, "Ann", "lobby", "")
	laptop, _ := enter(t, two, nil, "Ann", "attic", "")
	bob, _ := enter(t, two, nil, "Bob", "lobby", "")
	phone.want("here")
	if err := c.rooms.SendTo(t.Context(), "Ann", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	bob.post("k", "hello")
	phone.wantText("hello")
	bob.wantText("hello")
	if err := c.rooms.Disconnect(t.Context(), "Ann", 4003, "banned"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*page{phone, laptop} {
		_, _, err := p.conn.Read(p.ctx)
		closed := websocket.CloseError{}
		if !errors.As(err, &closed) || closed.Code != 4003 || closed.Reason != "banned" {
			t.Errorf("it ended with %v", err)
		}
	}
	if gone := bob.want("gone"); gone.Member != "Ann" {
		t.Errorf("left: %+v", gone)
	}
}

func TestViolations(t *testing.T) {
	c := newCluster(t)
	s := c.serve(t, "chat-1")
	tests := []struct {
		what string
		send func(p *page) error
		code websocket.StatusCode
	}{
		{"a post before join", func(p *page) error { return wsjson.Write(p.ctx, p.conn, Request{Type: "post", Key: "k", Text: "t"}) }, 1008},
		{"resume of a new session", func(p *page) error { return wsjson.Write(p.ctx, p.conn, Request{Type: "resume"}) }, 1008},
		{"a room without a name", func(p *page) error { return wsjson.Write(p.ctx, p.conn, Request{Type: "join", Who: Who{Member: "m"}}) }, 1008},
		{"an invalid ID", func(p *page) error {
			return wsjson.Write(p.ctx, p.conn, Request{Type: "join", Who: Who{"m", "n", "r"}, Since: "yesterday"})
		}, 1008},
		{"not JSON", func(p *page) error { return p.conn.Write(p.ctx, websocket.MessageText, []byte("hello")) }, 1008},
		{"a binary message", func(p *page) error { return p.conn.Write(p.ctx, websocket.MessageBinary, []byte("{}")) }, 1008},
		{"a long message", func(p *page) error { return p.conn.Write(p.ctx, websocket.MessageText, make([]byte, maxFrame+1)) }, 1009},
	}
	for _, test := range tests {
		p := open(t, s, nil)
		p.want("hello")
		if err := test.send(p); err != nil {
			t.Errorf("%s: %v", test.what, err)
		}
		p.wantClose(test.code)
	}

	p, _ := enter(t, s, nil, "Ann", "lobby", "")
	p.post("k", " ")
	if f := p.want("refused"); f.Key != "k" || f.Reason != "the message is empty" || f.Retry {
		t.Errorf("%+v", f)
	}
	p.send(Request{Type: "shout"})
	p.wantClose(1008)
}

func TestOtherOriginsAreRefused(t *testing.T) {
	s := newCluster(t).serve(t, "chat-1")
	_, res, err := dial(t, s, http.Header{"Origin": {"https://evil.example"}})
	if err == nil || res == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("%v, %v", res, err)
	}
	open(t, s, http.Header{"Origin": {s.URL}}).want("hello")
}

func TestHealth(t *testing.T) {
	s := newCluster(t).serve(t, "chat-1")
	res, err := http.Get(s.URL + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, _ = io.Copy(io.Discard, res.Body); res.StatusCode != http.StatusOK {
		t.Errorf("health is %d", res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestDrainClosesWithGoingAway(t *testing.T) {
	c := newCluster(t)
	s := c.serve(t, "chat-1")
	ann, _ := enter(t, s, nil, "Ann", "lobby", "")
	drained := make(chan error, 1)
	go func() { drained <- s.kit.Drain(context.Background()) }()
	ann.wantClose(websocket.StatusGoingAway)
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if people, err := c.rooms.Members(t.Context(), "lobby"); err != nil || len(people) > 0 {
		t.Errorf("%v are still there (%v)", people, err)
	}
}

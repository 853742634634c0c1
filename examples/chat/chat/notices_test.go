package chat

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// balancer is the test's connection to a server, in the role of a balancer with
// notices.
type balancer struct {
	*websocket.Conn
	t *testing.T
}

func (s testServer) connect(t *testing.T, why string) *balancer {
	t.Helper()
	h := fromBalancer("s1", why, 1)
	h.Set("Holdfast-Control", "1")
	conn, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.URL, "http")+"/ws", h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if got := res.Header.Get("Holdfast-Control"); got != "1" {
		t.Errorf("it answers Holdfast-Control: %q", got)
	}
	conn.SetReadDeadline(time.Now().Add(longTimeout))
	return &balancer{conn, t}
}

func (n *balancer) ping(text string) {
	n.t.Helper()
	if err := n.WriteControl(websocket.PingMessage, []byte(text), time.Now().Add(longTimeout)); err != nil {
		n.t.Error(err)
	}
}

func (n *balancer) send(r Request) {
	n.t.Helper()
	if err := n.WriteJSON(r); err != nil {
		n.t.Error(err)
	}
}

func (n *balancer) want(kind string) (f frame) {
	n.t.Helper()
	if err := n.ReadJSON(&f); err != nil || f.Type != kind {
		n.t.Fatalf("got %+v, %v; want %q", f, err, kind)
	}
	return f
}

// With notices, the old server answers the page's last request before it closes,
// and the new one sends hello only once the session has begun.
func TestMoveWithNotices(t *testing.T) {
	c := newCluster(t)
	one, two := c.serve(t, "chat-1"), c.serve(t, "chat-2")
	ann := one.connect(t, "")
	ann.want("hello")
	ann.send(Request{Type: "join", Who: Who{"Ann", "Ann", "lobby"}})
	ann.want("joined")

	moved := two.connect(t, "drain")
	pongs := make(chan string, 2)
	moved.SetPongHandler(func(payload string) error { pongs <- payload; return nil })
	moved.ping("are you there?")

	ann.send(Request{Type: "join", Who: Who{"Ann", "Anna", "attic"}})
	ann.ping("holdfast leave")
	if joined := ann.want("joined"); joined.Room != "attic" {
		t.Errorf("joined %+v", joined)
	}
	_, _, err := ann.ReadMessage()
	if closed := (*websocket.CloseError)(nil); !errors.As(err, &closed) || closed.Code != 1012 {
		t.Fatalf("it ended with %v, want a Close with 1012", err)
	}

	moved.ping("holdfast begin")
	if hello := moved.want("hello"); hello.Reattach != "drain" || hello.Server != "chat-2" {
		t.Errorf("hello %+v", hello)
	}
	if len(pongs) == 0 || <-pongs != "are you there?" {
		t.Error("it sent hello before the session had begun")
	}
	moved.send(Request{Type: "resume"})
	if joined := moved.want("joined"); joined.Room != "attic" || len(joined.People) != 1 || joined.People[0].Name != "Anna" {
		t.Errorf("joined %+v", joined)
	}

	// hello comes before the answer even if the page sends first.
	third := one.connect(t, "loss")
	third.ping("holdfast begin")
	third.send(Request{Type: "resume"})
	third.want("hello")
	third.want("joined")
	for _, n := range []*balancer{moved, third} {
		n.Close()
	}
	if _, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(one.URL, "http")+"/ws",
		http.Header{"Holdfast-Session": {"unknown"}, "Holdfast-Reattach": {"drain"}, "Holdfast-Control": {"1"}}); err == nil || res.StatusCode != 404 {
		t.Errorf("%v, %v: want 404", res, err)
	}
}

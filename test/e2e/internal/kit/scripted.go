//go:build unix

package kit

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// ScriptedBackend is a backend whose every answer and frame the test chooses.
type ScriptedBackend struct {
	Address string
	Pending chan *PendingHandshake // handshakes that came
}

// PendingHandshake is a handshake that waits for its answer.
type PendingHandshake struct {
	*http.Request
	Conn net.Conn
	in   *bufio.Reader
}

// StartScripted starts a backend that ends with the test, with all its
// connections.
func StartScripted(t testing.TB) *ScriptedBackend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &ScriptedBackend{Address: ln.Addr().String(), Pending: make(chan *PendingHandshake, 10)}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			conn.SetDeadline(time.Now().Add(testkit.Patience))
			in := bufio.NewReader(conn)
			if req, err := http.ReadRequest(in); err == nil {
				h.Pending <- &PendingHandshake{req, conn, in}
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		accepting.Wait()
	})
	return h
}

// Next waits for the next handshake.
func (h *ScriptedBackend) Next(t testing.TB) *PendingHandshake {
	t.Helper()
	return testkit.Receive(t, "a handshake", h.Pending)
}

// Accept answers with 101. header has further lines.
func (o *PendingHandshake) Accept(t testing.TB, header ...string) *wspeer.Conn {
	t.Helper()
	c, err := wspeer.Accept(o.Conn, o.in, o.Request, header...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Fixture is a balancer with a session on backend a, and other backends that
// could take it over. The test plays all of them.
type Fixture struct {
	*Balancer
	Client, First *wspeer.Conn
	Others        []*ScriptedBackend // b, c, ...
}

// Offered is what the client of a Fixture offers, Agreed what its first backend
// accepts.
var (
	Offered = []string{"Sec-WebSocket-Protocol: v1, v2", "Sec-WebSocket-Extensions: permessage-deflate"}
	Agreed  = []string{"Sec-WebSocket-Protocol: v2",
		"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"}
)

// NewFixture opens a session on a. There are others backends beside it.
func NewFixture(t testing.TB, engine string, others int) *Fixture {
	t.Helper()
	return NewFixtureWith(t, engine, others, Agreed)
}

// NewFixtureWith is NewFixture with other lines in a's answer.
func NewFixtureWith(t testing.TB, engine string, others int, answer []string) *Fixture {
	t.Helper()
	a := StartScripted(t)
	s := &Fixture{}
	list := fmt.Sprintf("{name: a, address: %q, weight: 256}", a.Address)
	for i := range others {
		s.Others = append(s.Others, StartScripted(t))
		// The balancer tries b first, then c, and so on.
		list += fmt.Sprintf(", {name: %s, address: %q, weight: %d}", BackendName(i+1), s.Others[i].Address, others-i)
	}
	s.Balancer = StartBalancer(t, fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
pools:
  main:
    reattach: {on: [drain, loss], timeout: 5s}
    drain: {timeout: 20s, spread: 0s}
    backends: [%s]
`, engine, list))
	opened := make(chan error, 1)
	go func() {
		var err error
		s.Client, _, err = wspeer.Dial(s.Address, "/", Offered...)
		opened <- err
	}()
	s.First = a.Next(t).Accept(t, answer...)
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Client.Close() })
	s.Client.SetDeadline(time.Now().Add(testkit.Patience))
	return s
}

// DrainFirst begins the drain of a, and returns when its session is being moved.
func (s *Fixture) DrainFirst(t testing.TB) {
	t.Helper()
	s.Command(t, 0, "drain", "main/a")
	s.FindLog(t, "the sessions of a backend are being moved", 0, "sessions=1")
}

// WantMessages reads messages from w and compares them.
func WantMessages(t testing.TB, who string, w *wspeer.Conn, messages ...string) {
	t.Helper()
	for _, want := range messages {
		if got, err := w.Message(); err != nil || got != want {
			t.Fatalf("%s got %.40q, %v, want %.40q", who, got, err, want)
		}
	}
}

// WantClose reads a Close with code from w, and answers it.
func WantClose(t testing.TB, who string, w *wspeer.Conn, code int) {
	t.Helper()
	if text, err := w.Message(); !IsClosed(err, code) {
		t.Fatalf("%s got %.40q, %v, want a Close with %d", who, text, err, code)
	}
	if err := w.SendClose(code, ""); err != nil {
		t.Errorf("%s: %v", who, err)
	}
}

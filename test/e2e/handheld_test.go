//go:build unix

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// handheld is a backend whose every answer and frame is the test's.
type handheld struct {
	address  string
	openings chan *opening
}

// opening is a handshake that waits for its answer.
type opening struct {
	*http.Request
	conn net.Conn
	in   *bufio.Reader
}

// holdBackend starts one, which ends with the test, with all its connections.
func holdBackend(t testing.TB) *handheld {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &handheld{address: ln.Addr().String(), openings: make(chan *opening, 10)}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			conn.SetDeadline(time.Now().Add(patience))
			in := bufio.NewReader(conn)
			if req, err := http.ReadRequest(in); err == nil {
				h.openings <- &opening{req, conn, in}
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		accepting.Wait()
	})
	return h
}

// next is the next handshake that comes.
func (h *handheld) next(t testing.TB) *opening {
	t.Helper()
	select {
	case o := <-h.openings:
		return o
	case <-time.After(patience):
		t.Fatal("no handshake came")
		return nil
	}
}

// accept answers with 101 and header, further lines of it.
func (o *opening) accept(t testing.TB, header ...string) *wire {
	t.Helper()
	lines := append([]string{"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Accept: " + acceptKey(o.Header.Get("Sec-WebSocket-Key"))}, header...)
	if _, err := io.WriteString(o.conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return &wire{Conn: o.conn, in: o.in}
}

// scene is a session with backend a, and others that could take it over.
type scene struct {
	*balancer
	client, old *wire
	others      []*handheld // b, c, ...
}

// What a scene's client offers, and what its first backend agrees to.
var (
	offered = []string{"Sec-WebSocket-Protocol: v1, v2", "Sec-WebSocket-Extensions: permessage-deflate"}
	agreed  = []string{"Sec-WebSocket-Protocol: v2",
		"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"}
)

func setScene(t testing.TB, engine string, others int) *scene {
	t.Helper()
	a := holdBackend(t)
	s := &scene{}
	list := fmt.Sprintf("{name: a, address: %q, weight: 256}", a.address)
	for i := range others {
		s.others = append(s.others, holdBackend(t))
		// The first of them is the one that is asked first.
		list += fmt.Sprintf(", {name: %s, address: %q, weight: %d}", backendName(i+1), s.others[i].address, others-i)
	}
	s.balancer = balance(t, fmt.Sprintf(`
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
		s.client, _, err = dialWire(s.address, "/", offered...)
		opened <- err
	}()
	s.old = a.next(t).accept(t, agreed...)
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.client.Close() })
	s.client.SetDeadline(time.Now().Add(patience))
	return s
}

// drainFirst begins the drain of a, and returns when its session has been told.
func (s *scene) drainFirst(t testing.TB) {
	t.Helper()
	s.holdfast(t, 0, "drain", "main/a")
	s.log(t, "the sessions of a backend are being moved", 0, "sessions=1")
}

// expect reads messages from w.
func expect(t testing.TB, who string, w *wire, messages ...string) {
	t.Helper()
	for _, want := range messages {
		if got, err := w.message(); err != nil || got != want {
			t.Fatalf("%s got %.40q, %v, want %.40q", who, got, err, want)
		}
	}
}

// expectClose reads a Close from w, and answers it.
func expectClose(t testing.TB, who string, w *wire, code int) {
	t.Helper()
	if text, err := w.message(); !isClosed(err, code) {
		t.Fatalf("%s got %.40q, %v, want a Close with %d", who, text, err, code)
	}
	if err := w.sendClose(code, ""); err != nil {
		t.Errorf("%s: %v", who, err)
	}
}

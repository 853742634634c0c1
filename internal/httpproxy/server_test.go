package httpproxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

var nopLog = slog.New(slog.DiscardHandler)

func TestWebSocketOnAKeptAliveConnection(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header["Upgrade"] != nil {
			t.Error("an upgrade reached the backend")
		}
		io.WriteString(w, "plain")
	})
	const ws = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, UPGRADE\r\nUpgrade: foo, WebSocket\r\nsec-websocket-KEY: k\r\n\r\n"
	r := newRig(t, Options{}, func(conn net.Conn, _ transport.Meta, first []byte) {
		defer conn.Close()
		whole := make([]byte, len(ws+"early"))
		if _, err := io.ReadFull(io.MultiReader(bytes.NewReader(first), conn), whole); err != nil || string(whole) != ws+"early" {
			t.Errorf("given back: %q, %v", whole, err)
		}
		io.WriteString(conn, "upgraded")
	}, addr)
	// Byte by byte, unchanged.
	got := r.raw("GET / HTTP/1.1\nHost: x\n\n" + strings.ReplaceAll(ws, "\r\n", "\n") + "early")
	if !strings.Contains(got, "\r\n\r\nplain") || !strings.HasSuffix(got, "upgraded") {
		t.Errorf("got %q", got)
	}
	if got := r.raw("GET / HTTP/1.1\nHost: x\nConnection: close, upgrade\nUpgrade: websockets\n\n"); !strings.HasSuffix(got, "plain") {
		t.Errorf("an upgrade to something else is answered with %q", got)
	}
}

func TestWhatWasReadBeforeComesFirst(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	go func() {
		io.WriteString(far, "and the rest")
		far.Close()
	}()
	conn := &clientConn{served: served{Conn: near}, heads: newHeads(near, []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nalready read "), nil, Limits{}.orDefaults())}
	if got, err := io.ReadAll(iotest.OneByteReader(conn)); !strings.HasSuffix(string(got), "\r\n\r\nalready read and the rest") || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if conn.NetConn() != near {
		t.Error("the connection inside is another")
	}
	near.Close()
}

func TestListenerOwnsWhatItIsHanded(t *testing.T) {
	l := NewListener(&net.TCPAddr{Port: 80})
	var far []net.Conn
	hand := func() bool {
		near, other := net.Pipe()
		far = append(far, other)
		return l.Hand(near)
	}
	for i := range queueLength {
		if !hand() {
			t.Fatalf("connection %d is not taken", i)
		}
	}
	if hand() {
		t.Error("one more than the queue holds is taken")
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	l.Close()
	l.Close()
	if hand() {
		t.Error("a closed listener takes a connection")
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	for _, conn := range far[1:] { // all but the accepted one are closed
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("a connection was left open: %v", err)
		}
	}
}

func TestShutdown(t *testing.T) {
	t.Run("waits for requests", func(t *testing.T) {
		began, end := make(chan struct{}), make(chan struct{})
		s, conn := serveOne(t, func(w http.ResponseWriter, r *http.Request) {
			close(began)
			<-end
			io.WriteString(w, "whole")
		})
		<-began
		done := make(chan error)
		go func() { done <- s.Shutdown(context.Background()) }()
		near, far := net.Pipe()
		for s.newest.http1.listener.Hand(near) { // until it has begun
			far.Close()
			near, far = net.Pipe()
		}
		far.Close()
		close(end)
		if got, _ := io.ReadAll(conn); !strings.HasSuffix(string(got), "whole") {
			t.Errorf("got %q", got)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("breaks off in the end", func(t *testing.T) {
		began := make(chan struct{})
		s, conn := serveOne(t, func(w http.ResponseWriter, r *http.Request) {
			close(began)
			<-r.Context().Done()
		})
		<-began
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if _, err := bufio.NewReader(conn).ReadByte(); err == nil {
			t.Error("an answer came")
		}
	})
}

// serveOne serves h to one connection that has sent a request.
func serveOne(t *testing.T, h http.HandlerFunc) (*Server, net.Conn) {
	s := NewServer(ServerOptions{Handler: h, Log: nopLog})
	served := make(chan error)
	go func() { served <- s.Serve() }()
	near, far := net.Pipe()
	far.SetDeadline(time.Now().Add(testkit.Patience))
	s.Hand(near, transport.Meta{}, []byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	t.Cleanup(func() {
		far.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, far
}

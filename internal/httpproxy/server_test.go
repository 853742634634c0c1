package httpproxy

import (
	"bufio"
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
)

var nopLog = slog.New(slog.DiscardHandler)

func TestWebSocketOnAKeptAliveConnection(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header["Upgrade"] != nil {
			t.Error("an upgrade reached the backend")
		}
		io.WriteString(w, "plain")
	})
	r := newRig(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		early := make([]byte, 5)
		if _, err := io.ReadFull(rw, early); err != nil {
			t.Error(err)
		}
		io.WriteString(conn, "upgraded "+r.Header.Get("Sec-WebSocket-Key")+" "+string(early))
	}, addr)
	got := r.raw("GET / HTTP/1.1\nHost: x\n\n" +
		"GET /ws HTTP/1.1\nHost: x\nConnection: keep-alive, UPGRADE\nUpgrade: foo, WebSocket\nSec-WebSocket-Key: k\n\nearly")
	if !strings.Contains(got, "\r\n\r\nplain") || !strings.HasSuffix(got, "upgraded k early") {
		t.Errorf("got %q", got)
	}
	for _, not := range []string{
		"GET / HTTP/1.0\nConnection: upgrade\nUpgrade: websocket\n\n",
		"GET / HTTP/1.1\nHost: x\nConnection: close\nUpgrade: websocket\n\n",
		"GET / HTTP/1.1\nHost: x\nConnection: close, upgrade\nUpgrade: websockets\n\n",
	} {
		if got := r.raw(not); !strings.HasSuffix(got, "plain") {
			t.Errorf("%q is answered with %q", not, got)
		}
	}
}

func TestPrefixConn(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	go func() {
		io.WriteString(far, "and the rest")
		far.Close()
	}()
	conn := PrefixConn(near, []byte("already read "))
	if got, err := io.ReadAll(iotest.OneByteReader(conn)); string(got) != "already read and the rest" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if conn.(interface{ NetConn() net.Conn }).NetConn() != near {
		t.Error("the connection inside is another")
	}
	if PrefixConn(near, nil) != near {
		t.Error("without a prefix, the connection is wrapped all the same")
	}
	conn.Close()
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
		for s.listener.Hand(near) { // until it has begun
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
	far.SetDeadline(time.Now().Add(patience))
	s.Hand(near, []byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	t.Cleanup(func() {
		far.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, far
}

//go:build unix

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// oneSession opens a session whose backend's end is in the test's hands, too.
func oneSession(t testing.TB, engine, more string) (b *balancer, client, backend *wire) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b = balance(t, settings{engine, []string{ln.Addr().String()}, more}.yaml())
	accepted := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			in := bufio.NewReader(conn)
			var req *http.Request
			if req, err = http.ReadRequest(in); err == nil {
				backend, err = acceptWire(conn, in, req)
			}
		}
		accepted <- err
	}()
	client, _, err = dialWire(b.address, "/")
	if err := errors.Join(err, <-accepted); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); backend.Close() })
	client.SetDeadline(time.Now().Add(patience))
	backend.SetDeadline(time.Now().Add(patience))
	return b, client, backend
}

// reset ends the connection as a crashed machine's kernel does.
func (w *wire) reset(t testing.TB) {
	t.Helper()
	if err := w.Conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	w.Close()
}

// Limits in time end a session politely, and the reason is told.
func TestTimeLimits(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		for _, tt := range []struct{ limit, reason, cause string }{
			// Our own pings are no messages: they don't keep a session alive.
			{"idle: 500ms", "idle timeout", "idle_timeout"},
			{"max_lifetime: 500ms", "maximum session lifetime", "max_lifetime"},
		} {
			t.Run(tt.cause, func(t *testing.T) {
				b, client, backend := oneSession(t, engine, fmt.Sprintf("timeouts: {%s}\nkeepalive: {interval: 100ms, timeout: 100ms}", tt.limit))
				began := time.Now()
				answered := make(chan error, 1)
				go func() { // it answers pings and the Close
					_, err := backend.message()
					backend.sendClose(1001, "")
					backend.Close()
					answered <- err
				}()
				_, err := client.message()
				var c *closed
				if !errors.As(err, &c) || *c != (closed{1001, tt.reason}) {
					t.Errorf("the client saw %v, want 1001 %q", err, tt.reason)
				}
				if took := time.Since(began); took < 450*time.Millisecond || took > 3*time.Second {
					t.Errorf("it took %v, with %s", took, tt.limit)
				}
				client.sendClose(1001, "")
				if err := client.toEnd(); err != nil {
					t.Errorf("after the Close: %v", err)
				}
				if err := <-answered; !isClosed(err, 1001) {
					t.Errorf("the backend saw %v, want 1001", err)
				}
				b.log(t, "session closed", 0, "cause="+tt.cause, "close_code=1001")
			})
		}
	})
}

// What the client sees of a backend that is lost depends on where it was in
// its stream: a Close may stand between frames only (RFC 6455 §5.4).
func TestBackendLostInsideItsStream(t *testing.T) {
	half := (&wire{}).encode(frame{fin: true, op: opText, payload: []byte(strings.Repeat("x", 1000))})[:500]
	part := (&wire{}).encode(frame{op: opText, payload: []byte("the first part")})
	eachEngine(t, func(t *testing.T, engine string) {
		for _, tt := range []struct {
			name  string
			bytes []byte
			close bool
		}{
			{"between messages", nil, true},
			{"between fragments", part, true},
			{"inside a frame", half, false},
			{"inside a frame's head", half[:1], false},
		} {
			for _, reset := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, reset %v", tt.name, reset), func(t *testing.T) {
					b, client, backend := oneSession(t, engine, "")
					if err := backend.sendText("hello"); err != nil {
						t.Fatal(err)
					}
					backend.Write(tt.bytes)
					want := append(backend.encode(frame{fin: true, op: opText, payload: []byte("hello")}), tt.bytes...)
					got := make([]byte, len(want))
					if _, err := io.ReadFull(client.in, got); err != nil || string(got) != string(want) {
						t.Fatalf("got %q, %v, want %q", got, err, want)
					}
					if reset {
						backend.reset(t)
					} else {
						backend.Close()
					}
					if tt.close {
						if _, err := client.message(); !isClosed(err, 1012) {
							t.Errorf("the client saw %v, want 1012", err)
						}
						client.sendClose(1012, "")
					}
					if err := client.toEnd(); err != nil {
						t.Errorf("the stream goes on after its last frame: %v", err)
					}
					b.log(t, "session closed", 0, "cause=backend_lost")
				})
			}
		}
	})
}

// A client that breaks the protocol is told so; its backend is not blamed.
func TestClientBreaksProtocol(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b, client, backend := oneSession(t, engine, "")
		if err := client.sendText("fine"); err != nil {
			t.Fatal(err)
		}
		if text, err := backend.message(); text != "fine" || err != nil {
			t.Fatalf("%q, %v", text, err)
		}
		client.Write([]byte{0x81, 0x05, 'h', 'e', 'l', 'l', 'o'}) // not masked
		if _, err := client.message(); !isClosed(err, 1002) {
			t.Errorf("the client saw %v, want 1002", err)
		}
		if _, err := backend.message(); !isClosed(err, 1001) {
			t.Errorf("the backend saw %v, want 1001", err)
		}
		backend.sendClose(1001, "")
		backend.Close()
		client.sendClose(1002, "")
		if err := client.toEnd(); err != nil {
			t.Errorf("after the Close: %v", err)
		}
		client.Close()
		b.log(t, "session closed", 0, "cause=client_protocol_error", "close_code=1002")
	})
}

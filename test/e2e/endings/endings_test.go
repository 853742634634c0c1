//go:build unix

package endings

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

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// oneSession opens a session whose backend's end is in the test's hands, too.
func oneSession(t testing.TB, engine, more string) (b *kit.Balancer, client, backend *wspeer.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b = kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{ln.Addr().String()}, More: more}.YAML())
	accepted := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			in := bufio.NewReader(conn)
			var req *http.Request
			if req, err = http.ReadRequest(in); err == nil {
				backend, err = wspeer.Accept(conn, in, req)
			}
		}
		accepted <- err
	}()
	client, _, err = wspeer.Dial(b.Address, "/")
	if err := errors.Join(err, <-accepted); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); backend.Close() })
	client.SetDeadline(time.Now().Add(testkit.Patience))
	backend.SetDeadline(time.Now().Add(testkit.Patience))
	return b, client, backend
}

// Limits of time close a session with a Close frame that has the reason.
func TestTimeLimits(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		for _, tt := range []struct{ limit, reason, cause string }{
			// Pongs are no messages: with idle_counts they don't keep a session.
			{"idle: 500ms, idle_counts: messages", "idle timeout", "idle_timeout"},
			{"max_lifetime: 500ms", "maximum session lifetime", "max_lifetime"},
		} {
			t.Run(tt.cause, func(t *testing.T) {
				b, client, backend := oneSession(t, engine, fmt.Sprintf("timeouts: {%s}\nkeepalive: {interval: 100ms, timeout: 100ms}", tt.limit))
				began := time.Now()
				answered := make(chan error, 1)
				go func() { // it answers pings and the Close
					_, err := backend.Message()
					backend.SendClose(1001, "")
					backend.Close()
					answered <- err
				}()
				_, err := client.Message()
				var c *wspeer.CloseError
				if !errors.As(err, &c) || *c != (wspeer.CloseError{Code: 1001, Reason: tt.reason}) {
					t.Errorf("the client saw %v, want 1001 %q", err, tt.reason)
				}
				if took := time.Since(began); took < 450*time.Millisecond {
					t.Errorf("it took %v, with %s", took, tt.limit)
				}
				client.SendClose(1001, "")
				if err := client.ReadEnd(); err != nil {
					t.Errorf("after the Close: %v", err)
				}
				if err := <-answered; !kit.IsClosed(err, 1001) {
					t.Errorf("the backend saw %v, want 1001", err)
				}
				b.FindLog(t, "session closed", 0, "cause="+tt.cause, "close_code=1001")
			})
		}
	})
}

// What the client sees of a backend that is lost depends on where it was in
// its stream: a Close may stand between frames only (RFC 6455 §5.4).
func TestBackendLostInsideItsStream(t *testing.T) {
	half := (&wspeer.Conn{}).Encode(wspeer.Frame{Fin: true, Op: wspeer.Text, Payload: []byte(strings.Repeat("x", 1000))})[:500]
	part := (&wspeer.Conn{}).Encode(wspeer.Frame{Op: wspeer.Text, Payload: []byte("the first part")})
	testkit.EachEngine(t, func(t *testing.T, engine string) {
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
					if err := backend.SendText("hello"); err != nil {
						t.Fatal(err)
					}
					backend.Write(tt.bytes)
					want := append(backend.Encode(wspeer.Frame{Fin: true, Op: wspeer.Text, Payload: []byte("hello")}), tt.bytes...)
					got := make([]byte, len(want))
					if _, err := io.ReadFull(client.In, got); err != nil || string(got) != string(want) {
						t.Fatalf("got %q, %v, want %q", got, err, want)
					}
					if reset {
						backend.Reset(t)
					} else {
						backend.Close()
					}
					if tt.close {
						if _, err := client.Message(); !kit.IsClosed(err, 1012) {
							t.Errorf("the client saw %v, want 1012", err)
						}
						client.SendClose(1012, "")
					}
					if err := client.ReadEnd(); err != nil {
						t.Errorf("the stream goes on after its last frame: %v", err)
					}
					b.FindLog(t, "session closed", 0, "cause=backend_lost")
				})
			}
		}
	})
}

// A client that breaks the protocol gets a Close frame that says so. Its
// backend is not blamed.
func TestClientBreaksProtocol(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		b, client, backend := oneSession(t, engine, "")
		if err := client.SendText("fine"); err != nil {
			t.Fatal(err)
		}
		if text, err := backend.Message(); text != "fine" || err != nil {
			t.Fatalf("%q, %v", text, err)
		}
		client.Write([]byte{0x81, 0x05, 'h', 'e', 'l', 'l', 'o'}) // not masked
		if _, err := client.Message(); !kit.IsClosed(err, 1002) {
			t.Errorf("the client saw %v, want 1002", err)
		}
		if _, err := backend.Message(); !kit.IsClosed(err, 1001) {
			t.Errorf("the backend saw %v, want 1001", err)
		}
		backend.SendClose(1001, "")
		backend.Close()
		client.SendClose(1002, "")
		if err := client.ReadEnd(); err != nil {
			t.Errorf("after the Close: %v", err)
		}
		client.Close()
		b.FindLog(t, "session closed", 0, "cause=client_protocol_error", "close_code=1002")
	})
}

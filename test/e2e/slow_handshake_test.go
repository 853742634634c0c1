//go:build unix

package e2e

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// silentServer accepts connections and says nothing.
func silentServer(t testing.TB) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

// A backend that takes the connection and never answers the handshake: the
// client waits a little longer and is served by the next one.
func TestBackendThatNeverAnswersTheHandshake(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		good := startBackends(t, 1)[0]
		b := balance(t, settings{engine, []string{silentServer(t), good.address}, "timeouts: {handshake: 1s}"}.yaml())
		waited := 0
		for range 4 {
			began := time.Now()
			w, _, err := dialWire(b.address, "/echo")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if time.Since(began) >= time.Second {
				waited++
			}
			mustEcho(t, w, "hello")
		}
		if waited == 0 {
			t.Error("no client was sent to the silent backend first: nothing was tested")
		}
		b.log(t, "a backend doesn't answer a handshake", 0, "backend=a", "next=true")
		m := b.metrics(t)
		if m[`holdfast_backend_sessions{backend="b",pool="main"}`] != 4 || m[`holdfast_backend_sessions{backend="a",pool="main"}`] != 0 {
			t.Errorf("metrics: %v", m)
		}
	})
}

// Where no backend answers, the client is told.
func TestNoBackendAnswersTheHandshake(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := balance(t, settings{engine, []string{silentServer(t)}, "timeouts: {handshake: 500ms}"}.yaml())
		_, res, err := dialWire(b.address, "/echo")
		if res == nil || res.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("got %v, want status 504", err)
		}
	})
}

func mustEcho(t testing.TB, w *wire, text string) {
	t.Helper()
	w.SetDeadline(time.Now().Add(patience))
	defer w.SetDeadline(time.Time{})
	if err := w.sendText(text); err != nil {
		t.Fatal(err)
	}
	if got, err := w.message(); got != text || err != nil {
		t.Fatalf("echo of %q: %q, %v", text, got, err)
	}
}

// A request's head that comes a byte at a time is served within the timeout.
func TestRequestByteByByte(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := balance(t, settings{engine, addresses(startBackends(t, 1)), ""}.yaml())
		conn, err := net.Dial("tcp", b.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		key := newKey()
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for _, c := range []byte(requestHead(b.address, "/echo", key, nil)) {
			<-pace.C
			if _, err := conn.Write([]byte{c}); err != nil {
				t.Fatal(err)
			}
		}
		w := &wire{Conn: conn, in: bufio.NewReader(conn), masks: true}
		if _, err := w.openingAnswer(key); err != nil {
			t.Fatal(err)
		}
		mustEcho(t, w, "hello")
	})
}

// A request's head that never ends is answered with 408 after
// timeouts.handshake, though bytes of it keep coming; a connection on which
// nothing comes is closed without a word.
func TestRequestThatNeverEnds(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := balance(t, settings{engine, addresses(startBackends(t, 1)), "timeouts: {handshake: 700ms}"}.yaml())
		for _, tt := range []struct{ name, first, drip string }{
			{"drips", "GET /echo HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n"},
			{"stops", "GET /echo HTTP/1.1\r\nHo", ""},
			{"silent", "", ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				began := time.Now()
				conn, err := net.Dial("tcp", b.address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				io.WriteString(conn, tt.first)
				answered, dripping := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(dripping)
					pace := time.NewTicker(50 * time.Millisecond)
					defer pace.Stop()
					for tt.drip != "" {
						select {
						case <-pace.C:
							io.WriteString(conn, tt.drip) // fails once the balancer has closed
						case <-answered:
							return
						}
					}
				}()
				in := bufio.NewReader(conn)
				res, err := http.ReadResponse(in, nil)
				took := time.Since(began)
				close(answered)
				<-dripping
				if tt.first == "" {
					if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Errorf("answered with %v, %v", res, err)
					}
				} else if err != nil || res.StatusCode != http.StatusRequestTimeout {
					t.Errorf("got %v, %v, want status 408", res, err)
				}
				if took < 600*time.Millisecond || took > 3*time.Second {
					t.Errorf("it took %v, with timeouts.handshake 700ms", took)
				}
			})
		}
	})
}

//go:build unix

package overload

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// silentServer accepts connections and sends nothing.
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

// A backend accepts the connection and never answers the handshake: after a
// short wait the next backend serves the client.
func TestBackendThatNeverAnswersTheHandshake(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		good := kit.StartBackends(t, 1)[0]
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{silentServer(t), good.Address}, More: "timeouts: {handshake: 1s}"}.YAML())
		waited := 0
		for range 4 {
			began := time.Now()
			w, _, err := wspeer.Dial(b.Address, "/echo")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if time.Since(began) >= time.Second {
				waited++
			}
			kit.WantEcho(t, w, "hello")
		}
		if waited == 0 {
			t.Error("no client was sent to the silent backend first: nothing was tested")
		}
		b.FindLog(t, "a backend doesn't answer a handshake", 0, "backend=a", "next=true")
		m := b.Metrics(t)
		if m[`holdfast_backend_sessions{backend="b",pool="main"}`] != 4 || m[`holdfast_backend_sessions{backend="a",pool="main"}`] != 0 {
			t.Errorf("metrics: %v", m)
		}
	})
}

// If no backend answers, the client is refused.
func TestNoBackendAnswersTheHandshake(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{silentServer(t)}, More: "timeouts: {handshake: 500ms}"}.YAML())
		_, res, err := wspeer.Dial(b.Address, "/echo")
		if res == nil || res.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("got %v, want status 504", err)
		}
	})
}

// A request head that comes byte by byte is served within the timeout.
func TestRequestByteByByte(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: kit.Addresses(kit.StartBackends(t, 1)), More: ""}.YAML())
		conn, err := net.Dial("tcp", b.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		key := wspeer.NewKey()
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for _, c := range []byte(wspeer.RequestHead(b.Address, "/echo", key, nil)) {
			<-pace.C
			if _, err := conn.Write([]byte{c}); err != nil {
				t.Fatal(err)
			}
		}
		w := &wspeer.Conn{Conn: conn, In: bufio.NewReader(conn), Masks: true}
		if _, err := w.ReadResponse(key); err != nil {
			t.Fatal(err)
		}
		kit.WantEcho(t, w, "hello")
	})
}

// A request head that never ends is answered with 408 after timeouts.handshake,
// even if bytes keep coming. A connection without any byte is closed without an
// answer.
func TestRequestThatNeverEnds(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: kit.Addresses(kit.StartBackends(t, 1)), More: "timeouts: {handshake: 700ms}"}.YAML())
		for _, tt := range []struct{ name, first, drip string }{
			{"drips", "GET /echo HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n"},
			{"stops", "GET /echo HTTP/1.1\r\nHo", ""},
			{"silent", "", ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				began := time.Now()
				conn, err := net.Dial("tcp", b.Address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(testkit.Patience))
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
				if took < 600*time.Millisecond {
					t.Errorf("it took %v, with timeouts.handshake 700ms", took)
				}
			})
		}
	})
}

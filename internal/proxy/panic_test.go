package proxy_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/proxy"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/proxy/reattach"
	"github.com/holdfast-ws/holdfast/internal/proxy/timing"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/overload"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
)

// results is a Watcher that only hears how handshakes ended.
type results chan string

func (results) SessionOpened(session.Info, proxy.Opened)                      {}
func (results) TLSDone(string, *transport.TLS)                                {}
func (results) TLSLeft()                                                      {}
func (results) SessionCame(uint32)                                            {}
func (results) SessionMoved(reattach.Move)                                    {}
func (results) SessionNotKept(session.Info)                                   {}
func (r results) TraceHandshake() bool                                        { return false }
func (r results) TraceMove(session.ID) bool                                   { return false }
func (r results) HandshakeTraced(*timing.Trace)                               {}
func (r results) AffinityDone(_, _ string)                                    {}
func (r results) HandshakeDone(_ proxy.Where, result string, _ time.Duration) { r <- result }

// TestPanic: a bug of ours costs the one handshake it strikes, which is told
// and counted, and the log has the place.
func TestPanic(t *testing.T) {
	routes := route.New([]route.Rule{{Pool: "no such pool"}})
	log := &testkit.Log{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	engine := relay.NewPortable(relay.DefaultTimes, logger, func(session.Summary) {})
	heard := make(results, 1)
	gate := overload.New(overload.Options{MaxSessions: 10})
	p := proxy.New(proxy.Options{Gate: gate, Engine: engine, Watcher: heard, Log: logger, HTTPDone: func(proxy.Where, int, time.Duration) {}},
		&generation.Generation{Routes: routes, Policies: make([]generation.Policy, 1), Forwarded: &forwarded.Policy{}, Handshake: patience})
	defer p.Close(context.Background())
	ln, err := engine.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, p.Serve)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	c.SetReadDeadline(time.Now().Add(patience))
	answer, err := io.ReadAll(c)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 500 ") {
		t.Errorf("the client got %q, %v", answer, err)
	}
	if got := <-heard; got != "internal_error" {
		t.Errorf("counted as %q", got)
	}
	if text := log.String(); !strings.Contains(text, "panic") || !strings.Contains(text, "takeBackend") {
		t.Errorf("the log doesn't say where:\n%s", text)
	}
	c.Close()
	engine.Close() // waits for the task
	if left := gate.Stats(); left.Handshakes != 0 {
		t.Errorf("%d handshakes are left in the gate", left.Handshakes)
	}
}

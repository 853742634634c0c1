package health

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// socket is a server that calls f for each WebSocket.
func socket(t *testing.T, o *websocket.AcceptOptions, f func(ctx context.Context, c *websocket.Conn)) (addr string) {
	t.Helper()
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if load := r.URL.Query().Get("load"); load != "" {
			w.Header().Set("Holdfast-Load", load)
		}
		c, err := websocket.Accept(w, r, o)
		if err != nil {
			return
		}
		defer c.CloseNow()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-done:
				cancel()
			case <-ctx.Done():
			}
		}()
		f(ctx, c)
	}))
	t.Cleanup(func() { close(done); server.Close() })
	return server.Listener.Addr().String()
}

// reading answers pings and Close, and drops messages.
func reading(ctx context.Context, c *websocket.Conn) {
	for {
		if _, _, err := c.Read(ctx); err != nil {
			return
		}
	}
}

func text(ctx context.Context, c *websocket.Conn, s string) {
	_ = c.Write(ctx, websocket.MessageText, []byte(s))
}

func TestWebSocket(t *testing.T) {
	protocols := &websocket.AcceptOptions{Subprotocols: []string{"chat.v2"}}
	latePong := func(d time.Duration) *websocket.AcceptOptions {
		return &websocket.AcceptOptions{OnPingReceived: func(ctx context.Context, _ []byte) bool {
			select {
			case <-time.After(d):
			case <-ctx.Done():
			}
			return true
		}}
	}
	good := socket(t, protocols, reading)
	greets := socket(t, nil, func(ctx context.Context, c *websocket.Conn) {
		for range 3 {
			text(ctx, c, `{"type":"welcome"}`+strings.Repeat(" ", 100_000))
		}
		reading(ctx, c)
	})
	echoes := socket(t, nil, func(ctx context.Context, c *websocket.Conn) {
		text(ctx, c, "hi")
		_, p, err := c.Read(ctx)
		if err == nil {
			text(ctx, c, "you said "+string(p))
			reading(ctx, c)
		}
	})
	leaves := socket(t, nil, func(ctx context.Context, c *websocket.Conn) { _ = c.Close(websocket.StatusTryAgainLater, "full") })
	drops := socket(t, nil, func(context.Context, *websocket.Conn) {})
	floods := socket(t, nil, func(ctx context.Context, c *websocket.Conn) {
		for c.Write(ctx, websocket.MessageBinary, make([]byte, 1<<20)) == nil {
		}
	})
	plain := func(status int) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/")
			w.Header().Set("Holdfast-Load", "0.5")
			w.WriteHeader(status)
		}))
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	// Upgrades and answers pings by hand, and then leaves Close unanswered.
	rude := func(after func(*net.TCPConn)) string {
		return raw(t, func(c *net.TCPConn) {
			request := head(c)
			_, keyed, _ := strings.Cut(request, "Sec-Websocket-Key: ")
			key, _, _ := strings.Cut(keyed, "\r\n")
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+wspeer.AcceptKey(key)+"\r\n\r\n")
			frame := make([]byte, 7) // a ping with "1", masked
			if _, err := io.ReadFull(c, frame); err != nil {
				return
			}
			_, _ = c.Write([]byte{0x8a, 1, frame[6] ^ frame[2]})
			after(c)
		})
	}
	for _, test := range []struct {
		name    string
		addr    string
		spec    WebSocket
		timeout time.Duration
		want    string
	}{
		{"pong", good, WebSocket{}, plenty, "passed: pong; capacity 1"},
		{"load", good, WebSocket{Path: "/ws?load=0.75"}, plenty, "passed: pong; capacity 0.25"},
		{"subprotocol", good, WebSocket{Subprotocol: "chat.v2"}, plenty, "passed: pong; capacity 1"},
		{"another subprotocol", good, WebSocket{Subprotocol: "chat.v1"}, plenty, `failed: subprotocol "chat.v1" was not accepted; capacity 1`},
		{"pong among messages", greets, WebSocket{Send: "ping", Expect: "pong"}, plenty, "passed: pong; capacity 1"},
		{"a greeting", greets, WebSocket{Expect: `{"type":"welcome"`}, plenty, `passed: a message that begins with "{\"type\":\"welcome\""; capacity 1`},
		{"a message is sent", good, WebSocket{Send: "hello"}, plenty, "passed: message sent; capacity 1"},
		{"a message and its answer", echoes, WebSocket{Send: "ping", Expect: "you said ping"}, plenty, `passed: a message that begins with "you said ping"; capacity 1`},
		{"another answer", echoes, WebSocket{Send: "ping", Expect: "ok"}, brief, `failed: no message that begins with "ok" within 150ms; capacity 1`},
		{"late pong", socket(t, latePong(50*time.Millisecond), reading), WebSocket{}, plenty, "passed: pong; capacity 1"},
		{"pong too late", socket(t, latePong(time.Hour), reading), WebSocket{}, brief, "failed: no pong within 150ms; capacity 1"},
		{"closes at once", leaves, WebSocket{}, plenty, `failed: no pong, closed with 1013 "full"; capacity 1`},
		{"drops the connection", drops, WebSocket{}, plenty, "failed: no pong: *"},
		{"drops before the message", drops, WebSocket{Expect: "hi"}, plenty, `failed: no message that begins with "hi": closed without a whole answer; capacity 1`},
		{"floods", floods, WebSocket{Expect: "hi"}, plenty, `failed: no message that begins with "hi" in the first 16 MiB; capacity 1`},
		{"floods before the pong", floods, WebSocket{}, plenty, "failed: no pong in the first 16 MiB; capacity 1"},
		{"drops instead of Close", rude(func(c *net.TCPConn) {}), WebSocket{}, plenty, "passed: pong; capacity 1"},
		{"Close with the pong", rude(func(c *net.TCPConn) { _, _ = c.Write([]byte{0x88, 2, 3, 232}); untilGone(c) }), WebSocket{}, plenty, "passed: pong; capacity 1"},
		{"never answers Close", rude(func(c *net.TCPConn) { untilGone(c) }), WebSocket{}, brief, "failed: pong, then Close was not answered within 150ms; capacity 1"},
		{"refuses upgrades", plain(404), WebSocket{}, plenty, "failed: status 404, want 101; capacity 0.5"},
		{"answers with a page", plain(200), WebSocket{}, plenty, "failed: status 200, want 101; capacity 0.5"},
		{"redirects", plain(302), WebSocket{}, plenty, "failed: status 302, want 101; capacity 0.5"},
		{"503", plain(503), WebSocket{}, plenty, "drains: status 503; capacity 0.5"},
		{"wrong key", saying(t, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"), WebSocket{}, plenty, "failed: WebSocket protocol violation: invalid Sec-WebSocket-Accept*"},
		{"accepts and is silent", raw(t, func(c *net.TCPConn) { untilGone(c) }), WebSocket{}, brief, "failed: no answer within 150ms"},
		{"resets", raw(t, resetting), WebSocket{}, plenty, "failed: connection reset by peer"},
		{"endless head", flooding(t, "HTTP/1.1 101 Switching Protocols\r\n", "X-More: of this\r\n"), WebSocket{}, plenty, "failed: the head of its answer is longer than 64 KiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ask(t, test.spec, test.timeout, test.addr).String()
			begin, open := strings.CutSuffix(test.want, "*") // the rest is the system's or the library's to say
			if !strings.HasPrefix(got, begin) || !open && got != begin {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestWebSocketRequest(t *testing.T) {
	var asked string
	addr := raw(t, func(c *net.TCPConn) {
		asked = head(c)
		_, _ = io.WriteString(c, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
	})
	spec := WebSocket{Path: "/ws?room=1", Host: "chat.example", Headers: [][2]string{{"Origin", "https://chat.example"}}, Subprotocol: "v2"}
	askAs(t, spec, plenty, "ws1.internal:3000", addr)
	lines := strings.Split(asked, "\r\n")
	for _, want := range []string{
		"GET /ws?room=1 HTTP/1.1", "Host: chat.example", "User-Agent: holdfast-health", "Origin: https://chat.example",
		"Upgrade: websocket", "Connection: Upgrade", "Sec-Websocket-Protocol: v2", "Sec-Websocket-Version: 13",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %q in\n%s", want, asked)
		}
	}
	spec.Host = ""
	askAs(t, spec, plenty, "ws1.internal:3000", addr)
	if !strings.Contains(asked, "\r\nHost: ws1.internal:3000\r\n") {
		t.Errorf("want the address as configured as the host in\n%s", asked)
	}
}

// The WebSocket check is for servers that answer /health but no longer accept
// WebSockets.
func TestServerThatRefusesUpgrades(t *testing.T) {
	var log logBook
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			http.Error(w, "no more sockets", http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	addr := server.Listener.Addr().String()
	r := registry(t, log.logger())
	c := New(Options{Log: log.logger()})
	defer c.Close()

	spec := Spec{Checks: []CheckSpec{HTTP{Path: "/health"}}, Interval: 20 * time.Millisecond}
	b := apply(r, c, spec, addr)[0]
	spec.Checks = append(spec.Checks, WebSocket{Path: "/ws"})
	begun := time.Now()
	apply(r, c, spec, addr)
	for b.Operational() != pool.Down {
		if time.Since(begun) > plenty {
			t.Fatal("it stays up")
		}
		time.Sleep(time.Millisecond)
	}
	if took, least := time.Since(begun), 2*18*time.Millisecond; took < least {
		t.Errorf("down after %v, want three failures first", took)
	}
	want := "backend " + addr + " is down, was up: websocket check /ws: status 500, want 101"
	got := ""
	testkit.Eventually(t, "the change is logged", func() bool {
		got += log.take()
		return got != ""
	})
	if got != want {
		t.Errorf("logged %q, want %q", got, want)
	}
}

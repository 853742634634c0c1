package proxy_test

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// Frames that arrive together with either side's head are kept, in order.
func TestEarlyFrames(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		got := make(chan string, 3)
		server := newBackend(t, func(p *peer, _ string) {
			io.WriteString(p, switching()+serverFrame(1, "early 1")+serverFrame(2, "early 2"))
			for range 3 {
				_, payload, err := readFrame(p.br)
				if err != nil {
					payload = err.Error()
				}
				got <- payload
			}
			io.WriteString(p, serverFrame(1, "late"))
			io.Copy(io.Discard, p.br)
		})
		b := start(t, engine, setup{backends: []string{server.addr}})
		c := b.dial().send(upgrade("/") + clientFrame(1, "one") + clientFrame(2, strings.Repeat("2", 9000)))
		c.want(101)
		c.send(clientFrame(1, "three"))
		c.wantBytes(serverFrame(1, "early 1") + serverFrame(2, "early 2") + serverFrame(1, "late"))
		for _, want := range []string{"one", strings.Repeat("2", 9000), "three"} {
			if frame := <-got; frame != want {
				t.Errorf("the backend got %.20q, want %.20q", frame, want)
			}
		}
	})
}

func TestSessionIsCounted(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := start(t, engine, setup{backends: []string{echoing(t, "one").addr}})
		c := b.dial().send(upgrade("/"))
		c.want(101)
		c.send(clientFrame(1, "hello"))
		c.wantBytes(serverFrame(1, "hello"))
		c.send(clientFrame(8, "\x0f\xa0bye"))
		c.wantBytes(serverFrame(8, "\x0f\xa0bye"))
		c.wantEnd()
		b.wait("the session's end", func() bool { return len(b.ended) == 1 })
		opened, ended := b.opened[0], b.ended[0]
		if ended.ID != opened.ID || opened.Client.String() != c.LocalAddr().String() || b.registry.Backend(opened.Backend).Sessions() != 0 {
			t.Errorf("opened %+v, ended %+v", opened, ended.Info)
		}
		want := [2]session.Traffic{session.Client: {Messages: 1, Bytes: 11 + 11}, session.Backend: {Messages: 1, Bytes: 7 + 7}}
		if ended.Cause != session.ClientClosed || ended.Code != 4000 || ended.From != want {
			t.Errorf("ended with %v, %d, %+v; want client_closed, 4000, %+v", ended.Cause, ended.Code, ended.From, want)
		}
	})
}

// Routes distinguish WebSockets from plain HTTP on one port.
func TestRoutes(t *testing.T) {
	no := false
	eachEngine(t, func(t *testing.T, engine string) {
		chat, api := echoing(t, "chat"), echoing(t, "api")
		b := start(t, engine, setup{
			pools: []pool.Spec{
				{Name: "chat", Backends: []pool.BackendSpec{{Address: chat.addr}}},
				{Name: "api", Backends: []pool.BackendSpec{{Address: api.addr}}},
			},
			rules: []route.Rule{
				{Path: path(t, "/api"), WebSocket: &no, Pool: "api"},
				{Host: host(t, "ws.example.com"), Pool: "chat"},
			},
		})
		for _, c := range []struct {
			request string
			status  int
			server  string
		}{
			{"GET /api/x HTTP/1.1\r\nHost: any\r\n\r\n", 200, "api"},
			{upgrade("/api/x"), 101, "chat"},
			{"GET /page HTTP/1.1\r\nHost: ws.example.com\r\n\r\n", 200, "chat"},
			{"GET /page HTTP/1.1\r\nHost: elsewhere\r\n\r\n", 404, ""},
			{strings.Replace(upgrade("/api/x"), "ws.example.com", "elsewhere", 1), 404, ""},
		} {
			resp, _ := b.dial().send(c.request).want(c.status)
			if got := resp.Header.Get("Server"); got != c.server {
				t.Errorf("%.30q was served by %q, want %q", c.request, got, c.server)
			}
		}
	})
}

// A plain request that finds no server gets Retry-After, as a handshake does.
func TestPlainRequestComesAgain(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := start(t, engine, setup{})
		resp, _ := b.dial().send("GET /page HTTP/1.1\r\nHost: any\r\n\r\n").want(503)
		if n := retryAfter(t, resp); n < 5 || n > 30 {
			t.Errorf("Retry-After: %d, want 5 to 30", n)
		}
	})
}

// A connection that served plain HTTP can still become a session.
func TestUpgradeOnAKeptConnection(t *testing.T) {
	get := "GET /page HTTP/1.1\r\nHost: ws.example.com\r\n\r\n"
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "one")
		b := start(t, engine, setup{backends: []string{server.addr}})
		c := b.dial()
		for range 3 {
			c.send(get)
			if _, body := c.want(200); body != "plain" {
				t.Errorf("got %q", body)
			}
		}
		c.send(upgrade("/chat?x=1", "Cookie: a=b"))
		c.want(101)
		c.send(clientFrame(1, "hello"))
		c.wantBytes(serverFrame(1, "hello"))
		_, heads := server.seen()
		last := heads[len(heads)-1]
		if !strings.HasPrefix(last, "GET /chat?x=1 HTTP/1.1\r\n") || field(t, last, "Cookie") != "a=b" || field(t, last, "Host") != "ws.example.com" {
			t.Errorf("the backend was sent %q", last)
		}
		c.send(clientFrame(8, "\x03\xe8"))
		b.wait("the session's end", func() bool { return len(b.ended) == 1 })
		if got := b.ended[0].From[session.Client].Messages; got != 1 {
			t.Errorf("%d messages counted from the client", got)
		}
	})
}

// The same if everything arrives at once, with the frames: nothing that was read
// ahead is lost.
func TestPipelinedUpgrade(t *testing.T) {
	get := "GET /page HTTP/1.1\r\nHost: ws.example.com\r\n\r\n"
	for _, size := range []int{10, 3000, 9000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				b := start(t, engine, setup{backends: []string{echoing(t, "one").addr}})
				text := strings.Repeat("x", size)
				c := b.dial().send(get + get + upgrade("/") + clientFrame(1, "first") + clientFrame(1, text) + clientFrame(1, "last"))
				c.want(200)
				c.want(200)
				c.want(101)
				c.wantBytes(serverFrame(1, "first") + serverFrame(1, text) + serverFrame(1, "last"))
			})
		})
	}
}

// Upgrades to anything else are declined by ignoring them (RFC 9110 §7.8).
func TestNoOtherUpgrade(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "one")
		b := start(t, engine, setup{backends: []string{server.addr}})
		b.dial().send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n").want(200)
		_, heads := server.seen()
		if head := heads[0]; field(t, head, "Upgrade") != "" || field(t, head, "HTTP2-Settings") != "" || strings.Contains(field(t, head, "Connection"), "pgrade") {
			t.Errorf("the backend was sent %q", head)
		}
		b.dial().send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").want(505)
		b.dial().send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").want(200)
	})
}

// Only trusted peers are believed about where a client comes from.
func TestForwarded(t *testing.T) {
	said := []string{"X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "X-Real-IP: 203.0.113.7"}
	for name, c := range map[string]struct {
		trust              []netip.Prefix
		chain, proto, from string
	}{
		"nobody is trusted":   {nil, "127.0.0.1", "http", "127.0.0.1"},
		"the peer is trusted": {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "203.0.113.7, 127.0.0.1", "https", "203.0.113.7"},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				server := echoing(t, "one")
				b := start(t, engine, setup{backends: []string{server.addr}, trust: c.trust})
				b.dial().send(upgrade("/", said...)).want(101)
				b.dial().send("GET / HTTP/1.1\r\nHost: ws.example.com\r\n" + lines(said) + "\r\n").want(200)
				_, heads := server.seen()
				for _, head := range heads {
					if got := field(t, head, "X-Forwarded-For"); got != c.chain {
						t.Errorf("X-Forwarded-For %q, want %q, in %q", got, c.chain, head)
					}
					if got := field(t, head, "X-Forwarded-Proto"); got != c.proto {
						t.Errorf("X-Forwarded-Proto %q, want %q", got, c.proto)
					}
					if got := field(t, head, "X-Forwarded-Host"); got != "ws.example.com" {
						t.Errorf("X-Forwarded-Host %q", got)
					}
					_, port, _ := strings.Cut(b.addr, ":")
					if got := field(t, head, "X-Forwarded-Port"); c.trust == nil && got != port {
						t.Errorf("X-Forwarded-Port %q, want %q", got, port)
					}
					if got := field(t, head, "Forwarded"); !strings.Contains(got, "for=127.0.0.1") || strings.Contains(got, "203.0.113.7") != (c.trust != nil) {
						t.Errorf("Forwarded %q", got)
					}
				}
				b.wait("the session", func() bool { return len(b.opened) == 1 }) // told after the 101
				if got := b.opened[0].Client.Addr().String(); got != c.from {
					t.Errorf("the session's client is %s, want %s", got, c.from)
				}
			})
		})
	}
}

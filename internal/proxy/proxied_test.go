package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	goproxyproto "github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

// told is a backend that requires a header, by another implementation, and remembers
// the headers and who has sent each request.
type told struct {
	addr string

	mu      sync.Mutex // guards the following
	headers []*goproxyproto.Header
	clients []string // of requests
}

func newTold(t testing.TB) *told {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &told{addr: ln.Addr().String()}
	server := &http.Server{Handler: b, ConnState: func(c net.Conn, state http.ConnState) {
		if state == http.StateActive {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.headers = append(b.headers, c.(*goproxyproto.Conn).ProxyHeader())
		}
	}}
	var serving sync.WaitGroup
	serving.Go(func() {
		server.Serve(&goproxyproto.Listener{Listener: ln, ReadHeaderTimeout: patience})
	})
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	return b
}

func (b *told) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.clients = append(b.clients, r.RemoteAddr)
	b.mu.Unlock()
	if r.Header.Get("Upgrade") == "" {
		io.WriteString(w, "plain")
		return
	}
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	for {
		kind, text, err := ws.Read(context.Background())
		if err != nil || ws.Write(context.Background(), kind, text) != nil {
			return
		}
	}
}

func (b *told) seen() (headers []*goproxyproto.Header, clients []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append(headers, b.headers...), append(clients, b.clients...)
}

// TestBackendIsTold: each connection to a backend begins with who the client is.
func TestBackendIsTold(t *testing.T) {
	for _, v := range []proxyproto.Version{proxyproto.V1, proxyproto.V2} {
		eachEngine(t, func(t *testing.T, engine string) {
			server := newTold(t)
			b := start(t, engine, setup{backends: []string{server.addr}, proxied: v, listener: behind(loopback)})
			c := b.dial()
			c.send(headerOf(2, "203.0.113.9:1234", nil) + upgrade("/")).want(101)
			c.send(clientFrame(1, "hello")).wantBytes(serverFrame(1, "hello"))
			headers, clients := server.seen()
			if len(clients) != 1 || clients[0] != "203.0.113.9:1234" || headers[0].DestinationAddr.String() != "198.51.100.2:443" || headers[0].Version != byte(v) {
				t.Errorf("the backend was told %q", clients)
			}
		})
	}
}

// TestBackendIsToldOfTheBelievedClient: as in the log, through trusted proxies.
func TestBackendIsToldOfTheBelievedClient(t *testing.T) {
	server := newTold(t)
	b := start(t, "portable", setup{backends: []string{server.addr}, proxied: proxyproto.V2, trust: []netip.Prefix{loopback}})
	b.dial().send(upgrade("/", "X-Forwarded-For: 203.0.113.9")).want(101)
	b.dial().send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 2001:db8::9\r\n\r\n").want(200)
	if _, clients := server.seen(); len(clients) != 2 || clients[0] != "203.0.113.9:0" || clients[1] != "[2001:db8::9]:0" {
		t.Errorf("the backend was told %q", clients)
	}
}

// TestNoSharedConnections: plain HTTP uses a connection again for the same client only.
func TestNoSharedConnections(t *testing.T) {
	server := newTold(t)
	b := start(t, "portable", setup{backends: []string{server.addr}, proxied: proxyproto.V2, listener: behind(loopback), trust: []netip.Prefix{farAway}})
	get := func(c *client, more ...string) {
		t.Helper()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n" + lines(more) + "\r\n").want(200)
	}
	one, two := b.dial().send(headerOf(1, "203.0.113.1:1", nil)), b.dial().send(headerOf(1, "203.0.113.2:2", nil))
	for range 3 {
		get(one)
		get(two)
	}
	// Requests of several clients come on one connection of a proxy that is trusted.
	shared := b.dial().send(headerOf(1, "192.0.2.7:1", nil))
	for _, client := range []string{"203.0.113.3", "203.0.113.3", "203.0.113.4", "203.0.113.3"} {
		get(shared, "X-Forwarded-For: "+client)
	}
	_, clients := server.seen()
	want := "203.0.113.1:1 203.0.113.2:2 203.0.113.1:1 203.0.113.2:2 203.0.113.1:1 203.0.113.2:2 203.0.113.3:0 203.0.113.3:0 203.0.113.4:0 203.0.113.3:0"
	if got := strings.Join(clients, " "); got != want {
		t.Errorf("requests of %s, want %s", got, want)
	}
	// A client that has gone takes its connection with it.
	one.Close()
	two.Close()
	shared.Close()
}

// TestBackendIsToldOfTLS: with version 2, what the client has agreed on.
func TestBackendIsToldOfTLS(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := newTold(t)
		listener, config := onTLS(t, false)
		b := start(t, engine, setup{backends: []string{server.addr}, proxied: proxyproto.V2, listener: listener})
		config.NextProtos = []string{"http/1.1"}
		conn := tls.Client(b.dial().Conn, config)
		c := &client{conn, t, bufio.NewReader(conn)}
		c.send(upgrade("/")).want(101)
		headers, _ := server.seen()
		checkTLS(t, headers[0], "a.example")
	})
}

func checkTLS(t *testing.T, header *goproxyproto.Header, name string) {
	t.Helper()
	fields, err := header.TLVs()
	if err != nil {
		t.Fatal(err)
	}
	ssl, ok := tlvparse.FindSSL(fields)
	version, _ := ssl.SSLVersion()
	cipher, _ := ssl.SSLCipher()
	if !ok || !ssl.ClientSSL() || ssl.Verified() || version != "TLSv1.3" || !strings.HasPrefix(cipher, "TLS_") {
		t.Errorf("the backend was told %+v", ssl)
	}
	told := map[goproxyproto.PP2Type]string{}
	for _, f := range fields {
		told[f.Type] = string(f.Value)
	}
	if told[goproxyproto.PP2_TYPE_AUTHORITY] != name || told[goproxyproto.PP2_TYPE_ALPN] != "http/1.1" {
		t.Errorf("the backend was told %q", told)
	}
}

// TestNewBackendIsTold: a session that moves says who its client is again, with what was
// known of its TLS, whether that ended here or at the proxy in front.
func TestNewBackendIsTold(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		for _, front := range []bool{false, true} {
			one, two := newTold(t), newTold(t)
			s := setup{backends: []string{one.addr, two.addr}, proxied: proxyproto.V2, reattach: always}
			config := new(tls.Config)
			if front {
				s.listener = behind(loopback)
			} else {
				s.listener, config = onTLS(t, false)
				config.NextProtos = []string{"http/1.1"}
			}
			b := start(t, engine, s)
			c := b.dial()
			if front {
				c.send(headerOf(2, "203.0.113.9:1234", &proxyproto.TLS{Version: "TLSv1.3", Cipher: "TLS_X", ServerName: "a.example", Protocol: "http/1.1"}))
			} else {
				conn := tls.Client(c.Conn, config)
				c = &client{conn, t, bufio.NewReader(conn)}
			}
			c.send(upgrade("/")).want(101)
			from := b.moving(session.Drain).Info.Backend
			// The session is reported before the engine has it.
			testkit.Eventually(t, "a session to be moved", func() bool { return b.engine.MoveSessions(drain(from)) == 1 })
			b.wait("the move", func() bool { return len(b.moves) == 1 })
			c.send(clientFrame(1, "hello")).wantBytes(serverFrame(1, "hello"))
			first, clients := one.seen()
			second, again := two.seen()
			if len(first) != 1 || len(second) != 1 || clients[0] != again[0] {
				t.Fatalf("told %q, and after the move %q; log:\n%s", clients, again, b.log)
			}
			checkTLS(t, first[0], "a.example")
			checkTLS(t, second[0], "a.example")
		}
	})
}

package proxy_test

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// Every request to a listener that redirects is answered with the same URL and
// https, and no backend sees it.
func TestRedirect(t *testing.T) {
	for _, tt := range []struct {
		name, request string
		port          uint16
		status        int
		location      string
	}{
		{"a page", "GET /a%20b?x=1&y HTTP/1.1\r\nHost: Example.com\r\n\r\n", 0, 308, "https://example.com/a%20b?x=1&y"},
		{"another port", "GET / HTTP/1.1\r\nHost: example.com:8080\r\n\r\n", 8443, 308, "https://example.com:8443/"},
		{"the usual port", "GET / HTTP/1.1\r\nHost: example.com.:80\r\n\r\n", 443, 308, "https://example.com/"},
		{"an address", "GET / HTTP/1.1\r\nHost: [2001:DB8::1]:80\r\n\r\n", 8443, 308, "https://[2001:db8::1]:8443/"},
		{"a URL for a target", "GET http://good.example/x HTTP/1.1\r\nHost: evil.example\r\n\r\n", 0, 308, "https://good.example/x"},
		{"a path that looks like a host", "GET //evil.example/x HTTP/1.1\r\nHost: good.example\r\n\r\n", 0, 308, "https://good.example//evil.example/x"},
		{"a body", "POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 0, 308, "https://a/form"},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 0, 308, "https://a"},
		{"a WebSocket", upgrade("/ws"), 0, 308, "https://ws.example.com/ws"},
		{"user information", "GET / HTTP/1.1\r\nHost: good.example@evil.example\r\n\r\n", 0, 400, ""},
		{"a path in the host", "GET / HTTP/1.1\r\nHost: evil.example/x\r\n\r\n", 0, 400, ""},
		{"no host", "GET / HTTP/1.0\r\n\r\n", 0, 400, ""},
		{"an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 0, 400, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				server := echoing(t, "a")
				b := start(t, engine, setup{backends: []string{server.addr}, listener: transport.ListenerSpec{RedirectHTTPS: true, HTTPSPort: tt.port}})
				c := b.dial().send(tt.request)
				resp, _ := c.want(tt.status)
				c.wantEnd()
				if got := resp.Header.Get("Location"); got != tt.location {
					t.Errorf("redirected to %q, want %q", got, tt.location)
				}
				switch {
				case tt.status == 400:
					b.wantResult("bad_request")
				case strings.Contains(tt.request, "Upgrade"):
					b.wantResult("redirected")
				default:
					b.wait("a count", func() bool { return len(b.plain) == 1 && b.plain[0] == 308 && len(b.results) == 0 })
				}
				if conns, heads := server.seen(); conns != 0 {
					t.Errorf("the backend was sent %q", heads)
				}
			})
		})
	}
}

// A HEAD has an answer without a body.
func TestRedirectOfHEAD(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := start(t, engine, setup{listener: transport.ListenerSpec{RedirectHTTPS: true}})
		c := b.dial().send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")
		all, err := io.ReadAll(c.br)
		head, body, _ := strings.Cut(string(all), "\r\n\r\n")
		if err != nil || body != "" || !strings.HasPrefix(head, "HTTP/1.1 308 ") || !strings.Contains(head, "\r\nContent-Length: 18") {
			t.Errorf("answered %q, %v", all, err)
		}
	})
}

// A challenge of ACME is answered on every listener, also on a connection that was
// kept alive for plain HTTP. Other paths, and unknown challenges, are not.
func TestACMEChallenge(t *testing.T) {
	const path = "/.well-known/acme-challenge/token"
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: WS.example.com:80\r\n\r\n" }
	challenge := func(host, p string) (string, bool) { return "token.thumb", host == "ws.example.com" && p == path }
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "a")
		plain := start(t, engine, setup{backends: []string{server.addr}, challenge: challenge})
		c := plain.dial()
		for range 2 {
			c.send(get("/")).want(200)
			c.send(get(path + "x")).want(200)
		}
		if _, body := c.send(get(path)).want(200); strings.TrimSpace(body) != "token.thumb" {
			t.Errorf("the answer is %q", body)
		}
		c.wantEnd()
		if _, heads := server.seen(); len(heads) != 4 {
			t.Errorf("the backend was sent %q", heads)
		}
		redirecting := start(t, engine, setup{challenge: challenge, listener: transport.ListenerSpec{RedirectHTTPS: true}})
		if _, body := redirecting.dial().send(get(path)).want(200); strings.TrimSpace(body) != "token.thumb" {
			t.Errorf("the answer is %q", body)
		}
		redirecting.dial().send(get(path + "x")).want(308)
	})
}

// A client that speaks TLS to a plain listener gets an alert, and the log says what
// to do.
func TestTLSOnAPlainListener(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := start(t, engine, setup{listener: transport.ListenerSpec{Name: "public"}})
		c := b.dial()
		if err := tls.Client(c, &tls.Config{ServerName: "a"}).Handshake(); err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("the client saw %v, want the alert protocol_version", err)
		}
		c.Close()
		b.wantResult("tls_failed")
		b.waitLog(`a TLS handshake came to the plain listener \"public\"`)
	})
}

//go:build unix

package backendtls

import (
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestHealth: checks make the TLS handshake, and resume it. Why a backend is down
// stands in the log and in the status.
func TestHealth(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	good, expired := start(t, "good", showing(ca.Issue("127.0.0.1"))), start(t, "expired", showing(ca.Expired("127.0.0.1")))
	openssl := startOpenSSL(t, ca.Issue("127.0.0.1"), "-www")
	trusting := "tls: {ca: " + ca.File() + "}\nhealth: {fall: 1, rise: 1, "
	const expiredReason = ": its certificate has expired, it was valid until "
	cases := []struct{ pool, check, address, reason string }{
		{"http", "http: {path: /health}", good.address, ""},
		{"websocket", "websocket: {path: /}", good.address, ""},
		{"tcp", "tcp: true", good.address, ""},
		{"openssl", "http: {path: /}", openssl, ""},
		{"openssl_tcp", "tcp: true", openssl, ""},
		{"http_expired", "http: {path: /health}", expired.address, "http check /health: TLS with " + expired.address + expiredReason},
		{"websocket_expired", "websocket: {path: /}", expired.address, "websocket check /: TLS with " + expired.address + expiredReason},
		{"tcp_expired", "tcp: true", expired.address, "tcp check: TLS with " + expired.address + expiredReason},
	}
	var p pools
	for _, c := range cases {
		pace := "interval: 500ms, timeout: 490ms, "
		if c.reason != "" {
			pace = "interval: 2m, timeout: 1m, " // the first check decides
		}
		p.add(c.pool, trusting+pace+c.check+"}", c.address)
	}
	b := kit.StartBalancer(t, p.file("auto"))
	for _, c := range cases {
		if c.reason == "" {
			b.AwaitState(t, c.pool, "a", "up")
			continue
		}
		if s := b.AwaitState(t, c.pool, "a", "down"); !strings.HasPrefix(s.Reason, c.reason) {
			t.Errorf("%s is down since %q, not since %q", c.pool, s.Reason, c.reason)
		}
		if change := b.AwaitChange(t, c.pool, "a", "down", 0); !strings.HasPrefix(change.Reason, c.reason) {
			t.Errorf("the log says that %s is down since %q, not since %q", c.pool, change.Reason, c.reason)
		}
	}
	testkit.Eventually(t, "checks that resumed a session", func() bool { return good.resumed.Load() >= 2 })
	b.Stop(t)
}

// TestPlainHTTP: requests share connections, which are kept alive with TLS.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	s := start(t, "only", showing(ca.Issue("127.0.0.1")))
	var p pools
	p.add("main", "tls: {ca: "+ca.File()+"}", s.address)
	b := kit.StartBalancer(t, p.file("auto"))
	for range 20 {
		if status, body := get(t, b.Address, "/main"); status != 200 || body != "only 0" {
			t.Fatalf("%d %q", status, body)
		}
	}
	if n := s.all.Load(); n != 1 {
		t.Errorf("20 requests, one after the other, made %d connections", n)
	}
	b.Stop(t)
}

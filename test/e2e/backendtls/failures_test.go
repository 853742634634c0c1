//go:build unix

package backendtls

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestHandshakes: each way in which TLS with a backend fails has its line in the log,
// which says what to change, for WebSockets and for plain HTTP.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	ca, other := testca.New(t), testca.New(t)
	mutual := showing(ca.Issue("127.0.0.1"))
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	older := showing(ca.Issue("127.0.0.1"))
	older.MaxVersion = tls.VersionTLS12
	cert, key := ca.Issue("balancer").Files()
	trusting := "tls: {ca: " + ca.File() + "}"
	good := start(t, "good", showing(ca.Issue("127.0.0.1"))).address
	named := start(t, "named", showing(ca.Issue("chat.internal"))).address
	needy := start(t, "needy", mutual).address
	cases := []struct {
		pool, tls, address string
		want               string // of the log; "" is fine
	}{
		{"good", trusting, good, ""},
		{"url", trusting, "wss://" + good, ""},
		{"older", trusting, start(t, "older", older).address, ""},
		{"renamed", "tls: {ca: " + ca.File() + ", server_name: chat.internal}", named, ""},
		{"mutual", "tls: {ca: " + ca.File() + ", cert: " + cert + ", key: " + key + "}", needy, ""},
		{"insecure", "tls: {insecure_skip_verify: true}", start(t, "insecure", showing(other.Expired("x"))).address, ""},
		{"untrusted", trusting, start(t, "untrusted", showing(other.Issue("127.0.0.1"))).address, "signed by the unknown authority"},
		{"system", "tls: {}", good, "set pools.system.tls.ca"},
		{"named", trusting, named, `its certificate is for "chat.internal", not for "127.0.0.1": set pools.named.tls.server_name`},
		{"expired", trusting, start(t, "expired", showing(ca.Expired("127.0.0.1"))).address, "its certificate has expired"},
		{"plain", trusting, start(t, "plain", nil).address, "the backend doesn't speak TLS on this port"},
		{"needy", trusting, needy, "set pools.needy.tls.cert and pools.needy.tls.key"},
	}
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		var p pools
		failures := 0
		for _, c := range cases {
			p.add(c.pool, c.tls, c.address)
			if c.want != "" {
				failures++
			}
		}
		b := kit.StartBalancer(t, p.file(engine))
		for _, c := range cases {
			path := "/" + c.pool
			want := http.StatusSwitchingProtocols
			if c.want != "" {
				want = http.StatusBadGateway
			}
			if status := open(t, b.Address, path); status != want {
				t.Errorf("%s: a WebSocket got %d, want %d", c.pool, status, want)
			}
			status, body := get(t, b.Address, path)
			if c.want == "" {
				if status != 200 || body != map[string]string{"renamed": "named 0", "mutual": "needy 0", "url": "good 0"}[c.pool] && body != c.pool+" 0" {
					t.Errorf("%s: plain HTTP got %d %q", c.pool, status, body)
				}
				continue
			}
			if status != 502 {
				t.Errorf("%s: plain HTTP got %d %q", c.pool, status, body)
			}
			for msg, attr := range map[string]string{"handshake refused": "result=backend_tls_failed", "plain HTTP request failed": "status=502"} {
				if e := b.FindLog(t, msg, 0, attr, "pool="+c.pool); !strings.Contains(fmt.Sprint(e["error"]), c.want) {
					t.Errorf("%s: the log says %q: %q, not %q", c.pool, msg, e["error"], c.want)
				}
			}
		}
		if n := b.Metrics(t)[`holdfast_handshakes_total{result="backend_tls_failed"}`]; n != float64(failures) {
			t.Errorf("%v handshakes are counted as backend_tls_failed, want %d", n, failures)
		}
		b.Stop(t)
	})
}

// TestEjection: a backend whose TLS fails is left out after max_fails, and the clients
// that came to it got another one.
func TestEjection(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	bad := start(t, "bad", showing(ca.Expired("127.0.0.1")))
	good := start(t, "good", showing(ca.Issue("127.0.0.1")))
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		var p pools
		p.add("main", "tls: {ca: "+ca.File()+"}\nbalance: round_robin\nhealth: {max_fails: 3, fail_timeout: 5m}", bad.address, good.address)
		b := kit.StartBalancer(t, p.file(engine))
		for range 8 {
			if status := open(t, b.Address, "/main"); status != http.StatusSwitchingProtocols {
				t.Fatalf("a client got %d", status)
			}
		}
		c := b.AwaitChange(t, "main", "a", "ejected", 0)
		if want := ": its certificate has expired, it was valid until "; !strings.Contains(c.Reason, want) {
			t.Errorf("it is ejected since %q, not since %q", c.Reason, want)
		}
		b.FindLog(t, "a backend doesn't answer a handshake", 0, "backend=a")
		b.Stop(t)
	})
}

// TestReload: files that can't be used refuse a reload. New ones are used from the
// reload on, and open sessions go on.
func TestReload(t *testing.T) {
	t.Parallel()
	ca, next := testca.New(t), testca.New(t)
	s := start(t, "only", showing(next.Issue("127.0.0.1")))
	file := func(tls string) string {
		var p pools
		p.add("main", tls, s.address)
		return p.file("auto")
	}
	b := kit.StartBalancer(t, file("tls: {ca: "+ca.File()+"}"))
	if status := open(t, b.Address, "/main"); status != http.StatusBadGateway {
		t.Errorf("an unknown authority: %d", status)
	}
	b.WriteConfig(t, file("tls: {ca: /nowhere/ca.pem}"))
	if e := b.Reload(t, kit.ReloadRefused); !strings.Contains(fmt.Sprint(e["error"]), "/nowhere/ca.pem") {
		t.Errorf("the reload is refused with %q", e["error"])
	}
	b.WriteConfig(t, file("tls: {ca: "+next.File()+"}"))
	b.Reload(t, kit.Reloaded)
	for range 3 {
		if status := open(t, b.Address, "/main"); status != http.StatusSwitchingProtocols {
			t.Errorf("after the reload: %d", status)
		}
	}
	before := s.resumed.Load()
	b.Reload(t, kit.Reloaded) // nothing has changed
	open(t, b.Address, "/main")
	if s.resumed.Load() != before+1 {
		t.Error("a reload without a change forgets the sessions to resume")
	}
	b.Stop(t)
}

//go:build unix

package backendtls

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit/nameserver"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestDiscovered: backends that were found in DNS are at IP addresses. Their
// certificates are for the target of the SRV record, or for the name that was looked
// up. That holds for WebSockets, plain HTTP and checks.
func TestDiscovered(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	s := start(t, "only", showing(ca.Issue("one.chat.test")))
	_, port, _ := net.SplitHostPort(s.address)
	dns := nameserver.Start(t, "one.chat.test. 60 IN A 127.0.0.1", "_ws._tcp.chat.test. 60 IN SRV 0 1 "+port+" one.chat.test.",
		"all.chat.test. 60 IN A 127.0.0.1")
	pool := func(name, dnsKeys, more string) string {
		return fmt.Sprintf("  %s:\n    tls: {ca: %s%s}\n    health: {http: {path: /health}}\n    dns: {server: %q, %s}\n", name, ca.File(), more, dns.Address, dnsKeys)
	}
	b := kit.StartBalancer(t, "listeners: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\npools:\n"+
		pool("srv", "name: _ws._tcp.chat.test., type: srv", "")+
		pool("named", "name: one.chat.test., type: a, port: "+port, "")+
		pool("other", "name: all.chat.test., type: a, port: "+port, "")+
		pool("renamed", "name: all.chat.test., type: a, port: "+port, ", server_name: one.chat.test")+
		"routes:\n  - {match: {path: /srv}, pool: srv}\n  - {match: {path: /named}, pool: named}\n  - {match: {path: /other}, pool: other}\n  - {match: {path: /renamed}, pool: renamed}\n")
	for _, pool := range []string{"srv", "named", "renamed"} {
		backend := b.Pool(t, pool).Backends[0].Name
		b.AwaitState(t, pool, backend, "up")
		if status := open(t, b.Address, "/"+pool); status != http.StatusSwitchingProtocols {
			t.Errorf("%s: a WebSocket got %d", pool, status)
		}
		if status, body := get(t, b.Address, "/"+pool); status != 200 {
			t.Errorf("%s: plain HTTP got %d %q", pool, status, body)
		}
	}
	if status := open(t, b.Address, "/other"); status == http.StatusSwitchingProtocols {
		t.Error("a certificate of another name is accepted")
	}
	b.Stop(t)
}

//go:build unix

package overload

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// sitSilent opens n connections from a local address that never send anything.
func sitSilent(t testing.TB, b *kit.Balancer, from string, n int) {
	t.Helper()
	for range n {
		conn, err := kit.ConnectFrom(from, b.Address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
}

// refusals returns how many handshakes were refused with a result.
func refusals(t testing.TB, b *kit.Balancer, result string) float64 {
	t.Helper()
	return b.Metrics(t)[`holdfast_handshakes_total{result="`+result+`"}`] // of all pools
}

// Silent connections from one address don't keep other clients out.
func TestSilentConnectionsOfOneAddress(t *testing.T) {
	t.Parallel()
	for _, engine := range testkit.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			const silent = 300
			s := kit.Settings{Engine: engine, Backends: []string{kit.StartToggleable(t, 1)[0].Address}}
			s.More = "timeouts: {handshake: 10m, shutdown: 500ms}\nlimits: {max_handshakes: 200}\n"
			b := kit.StartBalancer(t, s.YAML())
			sitSilent(t, b, "127.0.0.2", silent)
			testkit.Eventually(t, "refusals", func() bool { return refusals(t, b, "too_many_of_address") == silent-64 })
			if _, status := kit.OpenAndClose(t, b, "/"); status != http.StatusSwitchingProtocols {
				t.Errorf("another client got status %d", status)
			}
			entry := b.FindLog(t, "handshake refused", 0, "result=too_many_of_address")
			if client := entry["client"].(string); !strings.HasPrefix(client, "127.0.0.2:") {
				t.Errorf("the log has client %q", client)
			}
			// A bound that is written down is taken by a reload.
			s.More = "timeouts: {handshake: 10m, shutdown: 500ms}\nlimits: {max_handshakes: 200, max_handshakes_per_address: 70}\n"
			b.WriteConfig(t, s.YAML())
			b.Reload(t, kit.Reloaded)
			sitSilent(t, b, "127.0.0.2", 10)
			testkit.Eventually(t, "refusals", func() bool { return refusals(t, b, "too_many_of_address") == silent-64+4 })
			b.Stop(t)
		})
	}
}

// Behind a trusted proxy all connections have one address. Limits apply to the
// client in the request, and the connections alone don't count.
func TestHandshakesOfOneClientBehindAProxy(t *testing.T) {
	t.Parallel()
	mute := kit.StartFaulty(t, kit.NoAnswer)
	b := kit.StartBalancer(t, kit.ConfigWithPools(`  main: {backends: [{address: "`+mute.Address+`"}]}
`, "handshake: 10m")+kit.TrustLocal+"limits: {max_handshakes: 200, max_handshakes_per_address: 10}\n")
	ask := func(client int) {
		w, err := net.Dial("tcp", b.Address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		if _, err := w.Write([]byte(wspeer.RequestHead(b.Address, "/", wspeer.NewKey(), []string{kit.ForwardedFor(client)}))); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		ask(1)
		ask(2)
	}
	testkit.Eventually(t, "handshakes with the backend", func() bool { return len(mute.Failures()) == 20 })
	if _, status := kit.OpenAndClose(t, b, "/", kit.ForwardedFor(1)); status != http.StatusTooManyRequests {
		t.Errorf("an 11th handshake of one client got status %d", status)
	}
	if n := refusals(t, b, "too_many_of_address"); n != 1 {
		t.Errorf("%v refusals are counted, want 1", n)
	}
	ask(3)
	testkit.Eventually(t, "a handshake of another client", func() bool { return len(mute.Failures()) == 21 })
}

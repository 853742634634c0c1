//go:build unix

package backendtls

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// sessions is the number of clients of TestNothingIsLost.
const sessions = 120

// TestNothingIsLost: sessions with numbered messages outlive a rebalance, a drain of
// their backend, and kill -9, all with TLS to the backends and from the clients. Only
// what a killed backend had on its way is missing.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	cert, key := ca.Issue("127.0.0.1").Files()
	listener := fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\", tls: {certificates: [{cert: %s, key: %s}]}}]", cert, key)
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		backends := kit.StartBackends(t, 4, append(kit.WithTLS(ca.Issue("chat.internal")), kit.StartStore(t).Env())...)
		file := func(n int, more ...string) string {
			text := kit.DrainFile(engine, backends[:n], append(more, "tls: {ca: "+ca.File()+", server_name: chat.internal}",
				"reattach: {on: [drain, loss, rebalance], timeout: 2m}", "drain: {timeout: 10m, spread: 0s}", "health: {fail_timeout: 1s}")...)
			_, rest, _ := strings.Cut(text, "\n")
			return listener + "\n" + rest
		}
		b := kit.StartBalancer(t, file(3))
		how := kit.Frequent
		how.Unbroken, how.Lossy, how.TLS = true, true, &tls.Config{RootCAs: ca.Pool()}
		c := kit.StartCrowdWith(t, "member", b.Address, sessions, how)
		b.AwaitSessions(t, sessions)
		converse(t, c, 2)

		b.WriteConfig(t, file(4, "rebalance: {rate: 100/s, min_age: 0}"))
		b.Reload(t, kit.Reloaded)
		b.AwaitMetrics(t, "a quarter on d", func(m kit.Metrics) bool { return m[kit.SessionsSeries(3)] >= sessions/4 })
		b.WriteConfig(t, file(4)) // the end shall be without moves
		b.Reload(t, kit.Reloaded)
		converse(t, c, 2)

		b.Command(t, 0, "drain", "main/a", "--wait")
		converse(t, c, 2)

		orphaned := b.Metrics(t)[kit.SessionsSeries(1)]
		backends[1].Kill(t)
		b.AwaitMetrics(t, "all of b moved", func(m kit.Metrics) bool { return m.Moves("loss", "") >= orphaned })
		converse(t, c, 2)

		c.FinishAll(t)
		resumed := 0
		for _, backend := range []*kit.Backend{backends[0], backends[2], backends[3]} {
			resumed += backend.Report(t).Resumed
		}
		if resumed < sessions/4 {
			t.Errorf("%d TLS sessions were resumed", resumed)
		}
		backends[1].Restart(t)
		at := kit.Reports(t, backends)
		f := &kit.Faults{T: t}
		ended, gaps := 0, 0
		for _, member := range c.Members {
			server := at[member.ID]
			if e := member.Ending; e.Code == 1012 { // b was killed inside a message to it
				ended++
				continue
			}
			kit.CheckComplete(f, member, server)
			if member.Ending.Gaps > 1 || server.Gaps > 1 {
				f.Add("%s misses messages more than once: client %+v, server %+v", member.ID, member.Ending, server)
			}
			if member.Ending.Gaps+server.Gaps > 0 {
				gaps++
			}
		}
		f.Sum("sessions")
		if ended > 2 || gaps > int(orphaned) {
			t.Errorf("%d sessions ended, %d miss messages; %v were on the backend that was killed", ended, gaps, orphaned)
		}
		m := b.AwaitSessions(t, 0)
		if n := m.Moves("", "tls_failed"); n > 0 {
			t.Errorf("%v moves ended with tls_failed", n)
		}
		const ok = `holdfast_backend_tls_handshakes_total{pool="main",result="ok",resumed="%v",version="1.3"}`
		if full, resumed := m[fmt.Sprintf(ok, false)], m[fmt.Sprintf(ok, true)]; full < 1 || resumed < sessions || full+resumed < sessions*3/2 {
			t.Errorf("%v full and %v resumed handshakes with backends were counted", full, resumed)
		}
		if drained, rebalanced := m.Moves("drain", "moved"), m.Moves("rebalance", "moved"); drained < sessions/8 || rebalanced < sessions/8 {
			t.Errorf("%v sessions were moved by the drain, %v by the rebalance", drained, rebalanced)
		}
		b.Stop(t)
	})
}

// converse waits until each member has received n more messages on average.
func converse(t testing.TB, c *kit.Crowd, n int) {
	t.Helper()
	until := c.Received() + int64(n*len(c.Members))
	testkit.Eventually(t, "messages", func() bool { return c.Received() >= until })
}

// TestNode: sessions with Node's TLS and ws, moved from one server to another by a
// drain. Each server sees sessions resumed.
func TestNode(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		env := kit.WithTLS(ca.Issue("127.0.0.1"))
		one, two := kit.StartNodeServer(t, env...), kit.StartNodeServer(t, env...)
		b := kit.StartBalancer(t, fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
pools:
  main:
    tls: {ca: %s}
    reattach: {on: drain, timeout: 5s}
    drain: {timeout: 0s, spread: 0s}
    backends: [{name: a, address: %q, weight: 256}, {name: b, address: %q}]
`, engine, ca.File(), one.Address, two.Address))
		kit.SameJSON(t, "the client saw", kit.Scenario(t, b.Address, "large"), `{"same":true,"big":true,"code":1000,"reason":""}`)
		kit.SameJSON(t, "the client saw", kit.Scenario(t, b.Address, "early"), `{"messages":["first","second","third"],"code":1000,"reason":""}`)
		if e := one.Event(t, "open", "early"); e["resumed"] != true {
			t.Errorf("the second session's TLS isn't resumed: %v", e)
		}
		client := process.Start(t, "node client", kit.Node(t, "client.js", b.Address, "moved"))
		client.Stdout.Find(t, "ready", 0, func(line string) bool { return line == `"ready"` })
		one.Event(t, "open", "moved")
		b.Command(t, 0, "drain", "main/a")
		if status := client.Wait(t, testkit.Patience); status != 0 {
			t.Fatalf("the client ended with status %d", status)
		}
		kit.SameJSON(t, "the client saw", client.Stdout.Find(t, "result", 1, func(string) bool { return true }), `{
			"extensions": "permessage-deflate", "protocol": "v2.chat", "same": true, "before": null,
			"params": {"server_no_context_takeover": true, "client_no_context_takeover": true},
			"moved": {"session": 20, "why": "drain", "attempt": "1"}, "code": 1000, "reason": ""}`)
		if e := two.Event(t, "close", "moved"); e["code"] != 1000.0 {
			t.Errorf("the server that took over saw %v", e)
		}
		b.FindLog(t, "session moved", 0, "from=a", "to=b", "reattach=drain")
		b.Stop(t)
	})
}

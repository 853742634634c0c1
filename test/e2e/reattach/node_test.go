//go:build unix

package reattach

import (
	"fmt"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// Two ends with Node's ws, which compress with context if possible, don't
// notice that one of them is replaced by another server.
func TestNodeIsMoved(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		one, two := kit.StartNodeServer(t), kit.StartNodeServer(t)
		b := kit.StartBalancer(t, fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
pools:
  main:
    reattach: {on: drain, timeout: 5s}
    drain: {timeout: 0s, spread: 0s}
    backends: [{name: a, address: %q, weight: 256}, {name: b, address: %q}]
`, engine, one.Address, two.Address))
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
		if e := one.Event(t, "close", "moved"); e["code"] != 1012.0 {
			t.Errorf("the server that was left saw %v", e)
		}
		if e := two.Event(t, "close", "moved"); e["code"] != 1000.0 {
			t.Errorf("the server that took over saw %v", e)
		}
		b.FindLog(t, "session moved", 0, "from=a", "to=b", "reattach=drain")
		b.FindLog(t, "session closed", 0, "cause=client_closed", "backend=b")
		b.Stop(t)
	})
}

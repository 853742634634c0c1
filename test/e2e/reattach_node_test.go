//go:build unix

package e2e

import (
	"fmt"
	"testing"
)

// Two ends on Node's ws, which compress with context where they may, don't
// notice that one of them has become another server.
func TestNodeIsMoved(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		one, two := startNodeServer(t), startNodeServer(t)
		b := balance(t, fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
pools:
  main:
    reattach: {on: drain, timeout: 5s}
    drain: {timeout: 0s, spread: 0s}
    backends: [{name: a, address: %q, weight: 256}, {name: b, address: %q}]
`, engine, one.address, two.address))
		client := start(t, "node client", node(t, "client.js", b.address, "moved"))
		client.stdout.find(t, "ready", 0, func(line string) bool { return line == `"ready"` })
		one.event(t, "open", "moved")
		b.holdfast(t, 0, "drain", "main/a")
		if status := client.wait(t, patience); status != 0 {
			t.Fatalf("the client ended with status %d", status)
		}
		sameJSON(t, "the client saw", client.stdout.find(t, "result", 1, func(string) bool { return true }), `{
			"extensions": "permessage-deflate", "protocol": "v2.chat", "same": true, "before": null,
			"params": {"server_no_context_takeover": true, "client_no_context_takeover": true},
			"moved": {"session": 20, "why": "drain", "attempt": "1"}, "code": 1000, "reason": ""}`)
		if e := one.event(t, "close", "moved"); e["code"] != 1012.0 {
			t.Errorf("the server that was left saw %v", e)
		}
		if e := two.event(t, "close", "moved"); e["code"] != 1000.0 {
			t.Errorf("the server that took over saw %v", e)
		}
		b.log(t, "session moved", 0, "from=a", "to=b", "reattach=drain")
		b.log(t, "session closed", 0, "cause=client_closed", "backend=b")
		b.stop(t)
	})
}

//go:build unix

package frameworks

import (
	"fmt"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// TestNetworkFails: clients whose own network fails come back to the session that their
// server keeps for them, which is of that server only.
func TestNetworkFails(t *testing.T) {
	for _, f := range []framework{
		{heading: "## SignalR", kind: "signalr-stateful", pool: "hubs"},
		{heading: "## Colyseus", kind: "colyseus", pool: "game"},
	} {
		t.Run(f.kind, func(t *testing.T) {
			t.Parallel()
			const n = 6
			s := newStage(t, f)
			s.start(t, f.pool, "http://"+s.b.Address, n)
			g := s.groups[0]
			testkit.Eventually(t, "events for all clients", func() bool { return len(g.places(t)) == n })
			before := g.places(t)
			if _, err := fmt.Fprintln(g.Stdin, "cut"); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, "events of the same sessions by second connections", func() bool { return len(g.again(t)) == n })
			for client, place := range g.places(t) {
				if place != before[client] {
					t.Errorf("client %v was at %s and came back to %s", client, before[client], place)
				}
			}
			if f.kind == "signalr-stateful" { // Colyseus doesn't keep what it would send meanwhile
				testkit.Eventually(t, "all events", func() bool { return g.lost(t) == 0 })
			}
		})
	}
}

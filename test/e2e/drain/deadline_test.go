//go:build unix

package drain

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// timeOf is when a line of the log was written.
func timeOf(t testing.TB, entry map[string]any) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(entry["time"]))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// A drain ends at its deadline although the moves of its sessions fail slowly:
// each session gets the drain's Close, and a backend that hangs is not asked
// again and again.
func TestDrainEndsAtItsDeadline(t *testing.T) {
	const n = 5
	for _, tt := range []struct {
		name    string
		hangs   bool // the other backend does; else clients are inside a message
		drain   string
		seconds float64 // of its timeout
		asked   int     // handshakes that a session may cost the backend that hangs
	}{
		{"the other backend hangs", true, "{timeout: 3s, spread: 0s, code: 4100, reason: moving out}", 3, 1},
		{"the other backend hangs, with a spread", true, "{timeout: 6s, spread: 2s, code: 4100, reason: moving out}", 6, 2},
		{"a message without end", false, "{timeout: 3s, spread: 0s, code: 4100, reason: moving out}", 3, 0},
		{"a message without end, at once", false, "{timeout: 0s, code: 4100, reason: moving out}", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testkit.EachEngine(t, func(t *testing.T, engine string) {
				a, hanging := kit.StartScripted(t), kit.StartScripted(t)
				var asked atomic.Int64
				over := make(chan struct{})
				defer close(over)
				go func() {
					for {
						select {
						case <-hanging.Pending:
							asked.Add(1)
						case <-over:
							return
						}
					}
				}()
				b := kit.StartBalancer(t, fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
pools:
  main:
    reattach: {on: drain, timeout: 4s}
    drain: %s
    backends: [{name: a, address: %q, weight: 256}, {name: b, address: %q, weight: 1}]
`, engine, tt.drain, a.Address, hanging.Address))
				var clients, servers []*wspeer.Conn
				for range n {
					opened := make(chan *wspeer.Conn, 1)
					go func() {
						c, _, err := wspeer.Dial(b.Address, "/")
						if err != nil {
							t.Error(err)
						}
						opened <- c
					}()
					servers = append(servers, a.Next(t).Accept(t))
					clients = append(clients, <-opened)
				}
				if !tt.hangs {
					for i, c := range clients {
						c.Send(wspeer.Frame{Op: wspeer.Text, Payload: []byte("it never ends")})
						if f, err := servers[i].ReadFrame(); err != nil || f.Op != wspeer.Text {
							t.Fatal(f, err)
						}
					}
				}
				b.Command(t, 0, "drain", "main/a")
				for i, c := range clients {
					if text, err := c.Message(); !kit.IsClosed(err, 4100) || err.(*wspeer.CloseError).Reason != "moving out" {
						t.Fatalf("client %d got %q, %v, want the drain's Close", i, text, err)
					}
					c.SendClose(4100, "")
					servers[i].Close()
				}
				begun, done := b.FindLog(t, "a backend is being emptied", 0), b.FindLog(t, "session closed", 0, "cause=backend_drained", "close_code=4100")
				if d := timeOf(t, done).Sub(timeOf(t, begun)).Seconds(); d < tt.seconds-2.5 {
					t.Errorf("the first was closed %v s after the drain began", d)
				}
				if got := int(asked.Load()); got > n*tt.asked || tt.hangs && got == 0 {
					t.Errorf("the backend that hangs was asked %d times for %d sessions", got, n)
				}
				b.AwaitSessions(t, 0)
			})
		})
	}
}

//go:build unix

package reload

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit/nameserver"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// A reload that changes other things affects neither checks nor discovery: a
// backend that is down stays down and gets no session for a moment, and nothing
// is asked again.
func TestReloadLeavesHealthAlone(t *testing.T) {
	t.Parallel()
	servers := kit.StartToggleable(t, 2)
	sick := servers[0]
	sick.SetState(t, `{"health": 500}`)
	found := kit.StartBackends(t, 1)[0]
	names := nameserver.Start(t, kit.SRVRecords(3600, found)...)
	// The first check takes it down, and the next is due in an hour.
	file := func(n int, fall int) string {
		return fmt.Sprintf(`listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
timeouts: {shutdown: 500ms, idle: %dm}
keepalive: {interval: %ds}
log: {level: %s}
routes:
  - {match: {path: /found}, pool: found}
  - {match: {path: /elsewhere-%d}, pool: other}
  - {pool: main}
pools:
  found:
    balance: %s
    dns: {name: %q, refresh: 1h, server: %q}
  main:
    balance: %s
    max_sessions: %d
    health: {http: {path: /health}, interval: 1h, timeout: 1s, fall: %d, max_fails: %d, slow_start: %ds}
    backends:
      - {name: a, address: %q}
      - {name: b, address: %q, weight: %d}
  other:
    backends: [{address: "127.0.0.1:%d"}]
`, n+1, n+10, []string{"info", "debug"}[n%2], n, []string{"least_conn", "p2c"}[n%2], kit.ChatName, names.Address,
			[]string{"round_robin", "random", "least_conn"}[n%3], 1000+n, fall, 3+n, n%2, servers[0].Address, servers[1].Address, n+1, n+1)
	}
	b := kit.StartBalancer(t, file(0, 3))
	b.AwaitState(t, "main", "a", "down")
	servers[1].AwaitChecks(t, 1, "http", "200")
	asked := names.Queries()

	stop, seen := make(chan struct{}), map[string]int{}
	var visitors sync.WaitGroup
	var mu sync.Mutex // guards seen
	for range 2 {
		visitors.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				backend := "nobody"
				w, res, err := wspeer.Dial(b.Address, "/")
				if res != nil {
					backend = fmt.Sprint(res.Header.Get("X-Backend"), " ", res.StatusCode)
				}
				if err == nil {
					w.SendClose(1000, "")
					w.Close()
				}
				mu.Lock()
				seen[backend]++
				mu.Unlock()
			}
		})
	}
	const reloads = 10
	for n := 1; n <= reloads; n++ {
		b.WriteConfig(t, file(n, 3))
		b.Reload(t, kit.Reloaded)
	}
	close(stop)
	visitors.Wait()
	t.Logf("%v during %d reloads", seen, reloads)
	if well := fmt.Sprint("b ", http.StatusSwitchingProtocols); len(seen) != 1 || seen[well] < reloads {
		t.Errorf("sessions during %d reloads, by backend and status: %v, want all at %q", reloads, seen, well)
	}
	b.CheckState(t, "main", "a", "down", "http check /health: status 500")
	b.CheckChanges(t, "main", "a", "down")
	b.CheckChanges(t, "main", "b")
	if n := sick.Checks("http", "500"); n != 1 {
		t.Errorf("the backend that is down was checked %d times in an hour's interval", n)
	}
	if n := servers[1].Checks("http", "200"); n != 1 {
		t.Errorf("the backend that is up was checked %d times in an hour's interval", n)
	}
	if n := names.Queries() - asked; n != 0 {
		t.Errorf("reloads asked DNS %d times", n)
	}

	// Changed checks begin at once, from the known state.
	b.WriteConfig(t, file(reloads, 2))
	b.Reload(t, kit.Reloaded)
	sick.AwaitChecks(t, 2, "http", "500")
	servers[1].AwaitChecks(t, 2, "http", "200")
	kit.OpenAndCloseMany(t, b, "/", 4)
	b.CheckChanges(t, "main", "a", "down")
	b.CheckChanges(t, "main", "b")
	b.Stop(t)
}

//go:build unix

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// A reload that changes other things disturbs neither checks nor discovery:
// what is down stays down, without a moment in which it gets a session, and
// nothing is asked again that was asked already.
func TestReloadLeavesHealthAlone(t *testing.T) {
	t.Parallel()
	servers := startMoody(t, 2)
	sick := servers[0]
	sick.set(t, `{"health": 500}`)
	found := startBackends(t, 1)[0]
	names := startNameServer(t, srvs(3600, found)...)
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
`, n+1, n+10, []string{"info", "debug"}[n%2], n, []string{"least_conn", "p2c"}[n%2], chatName, names.address,
			[]string{"round_robin", "random", "least_conn"}[n%3], 1000+n, fall, 3+n, n%2, servers[0].address, servers[1].address, n+1, n+1)
	}
	b := balance(t, file(0, 3))
	b.awaitState(t, "main", "a", "down")
	servers[1].awaitChecks(t, 1, "http", "200")
	asked := names.questions()

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
				w, res, err := dialWire(b.address, "/")
				if res != nil {
					backend = fmt.Sprint(res.Header.Get("X-Backend"), " ", res.StatusCode)
				}
				if err == nil {
					w.sendClose(1000, "")
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
		b.write(t, file(n, 3))
		b.hangUp(t, reloaded)
	}
	close(stop)
	visitors.Wait()
	t.Logf("%v during %d reloads", seen, reloads)
	if well := fmt.Sprint("b ", http.StatusSwitchingProtocols); len(seen) != 1 || seen[well] < reloads {
		t.Errorf("sessions during %d reloads, by backend and status: %v, want all at %q", reloads, seen, well)
	}
	b.checkState(t, "main", "a", "down", "http check /health: status 500")
	b.checkChanges(t, "main", "a", "down")
	b.checkChanges(t, "main", "b")
	if n := sick.checks("http", "500"); n != 1 {
		t.Errorf("the backend that is down was checked %d times in an hour's interval", n)
	}
	if n := servers[1].checks("http", "200"); n != 1 {
		t.Errorf("the backend that is up was checked %d times in an hour's interval", n)
	}
	if n := names.questions() - asked; n != 0 {
		t.Errorf("reloads asked DNS %d times", n)
	}

	// Other checks begin at once, and from what was known.
	b.write(t, file(reloads, 2))
	b.hangUp(t, reloaded)
	sick.awaitChecks(t, 2, "http", "500")
	servers[1].awaitChecks(t, 2, "http", "200")
	knocks(t, b, "/", 4)
	b.checkChanges(t, "main", "a", "down")
	b.checkChanges(t, "main", "b")
	b.stop(t)
}

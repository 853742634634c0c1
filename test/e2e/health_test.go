//go:build unix

package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// slack is what a busy machine may add to what is measured. That nothing comes
// a whole check late is for counts of checks to show.
const slack = time.Second

// A server that still answers HTTP but takes no more WebSockets: the WebSocket
// check finds it in time, the HTTP check never does.
func TestServerWithoutWebSockets(t *testing.T) {
	t.Parallel()
	for _, mood := range []string{"refuse", "deaf"} {
		t.Run(mood, func(t *testing.T) {
			t.Parallel()
			serverWithoutWebSockets(t, mood, map[string]string{
				"refuse": "websocket check /echo: status 500, want 101",
				"deaf":   "websocket check /echo: no pong within 350ms",
			}[mood])
		})
	}
}

func serverWithoutWebSockets(t *testing.T, mood, reason string) {
	const fall, interval, timeout = 2, 400 * time.Millisecond, 350 * time.Millisecond
	sick, well := startMoody(t, 1)[0], startNodeServer(t)
	backends := fmt.Sprintf("[{name: sick, address: %q}, {name: well, address: %q}]", sick.address, well.address)
	times := fmt.Sprintf("interval: %v, timeout: %v, fall: %d, rise: 2", interval, timeout, fall)
	b := balance(t, withPools(`  by_http:
    balance: round_robin
    health: {http: {path: /health}, `+times+`}
    backends: `+backends+`
  by_websocket:
    balance: round_robin
    health: {websocket: {path: /echo, send: ping, expect: pong}, `+times+`}
    backends: `+backends+`
routes:
  - {match: {path: /chat}, pool: by_http}
  - {match: {path: /echo}, pool: by_websocket}`))
	sick.awaitChecks(t, fall, "http", "200")
	sick.awaitChecks(t, fall, "websocket", "well")
	old, _ := stay(t, b, "/echo")
	older, _ := stay(t, b, "/echo") // one of them is on each

	before := time.Now()
	sick.set(t, fmt.Sprintf(`{"websocket": %q}`, mood))
	found := b.awaitChange(t, "by_websocket", "sick", "down", 0)
	sick.awaitChecks(t, fall, "websocket", mood)
	if n := sick.checks("websocket", mood); n != fall {
		t.Errorf("it was taken out after %d failed checks, with fall %d", n, fall)
	}
	if took, most := found.at.Sub(before), fall*(interval+interval/10)+timeout+slack; took > most {
		t.Errorf("it was taken out after %v, want at most %v", took, most)
	}
	b.checkState(t, "by_websocket", "sick", "down", reason)
	for range 6 {
		w, backend := stay(t, b, "/echo")
		if backend != "" { // the other server doesn't tell its name
			t.Fatalf("a new session went to %q, which is down", backend)
		}
		mustEcho(t, w, "hello")
		w.Close()
	}
	mustEcho(t, old, "still here")
	mustEcho(t, older, "still here")

	sick.awaitChecks(t, sick.checks("http", "200")+2*fall, "http", "200")
	b.checkState(t, "by_http", "sick", "up", "")
	b.checkState(t, "by_http", "well", "up", "")
	b.checkState(t, "by_websocket", "well", "up", "")
	there := 0
	for range 4 {
		if backend, _ := knock(t, b, "/chat"); backend == "a" {
			there++
		}
	}
	if there != 2 {
		t.Errorf("by the HTTP check, %d of 4 handshakes went to the server that takes none, want half", there)
	}

	sick.set(t, `{"websocket": "well"}`)
	b.awaitChange(t, "by_websocket", "sick", "up", 0)
	if got := knocks(t, b, "/echo", 4); got["a"] != 2 {
		t.Errorf("once it is well again, the sessions go to %v, want half to it", got)
	}
	b.checkChanges(t, "by_websocket", "sick", "down", "warming", "up")
	for _, quiet := range [][2]string{{"by_http", "sick"}, {"by_http", "well"}, {"by_websocket", "well"}} {
		b.checkChanges(t, quiet[0], quiet[1])
	}
	leave(t, b, old, older)
	b.stop(t)
}

// 503 means draining, at once; another failure means down, after some; sessions
// that are open stay through all of it.
func TestDrainingAndDown(t *testing.T) {
	t.Parallel()
	const fall, interval = 3, 400 * time.Millisecond
	servers := startMoody(t, 2)
	a, other := servers[0], servers[1]
	b := balance(t, withPools(fmt.Sprintf(`  main:
    balance: round_robin
    health: {http: {path: /health, expect: 200}, interval: %v, timeout: 350ms, fall: %d, rise: 2}
    backends: %s`, interval, fall, configured(servers...))))
	a.awaitChecks(t, 1, "http", "200")
	other.awaitChecks(t, 1, "http", "200")
	var live []*wire
	on := map[string]int{}
	for range 4 {
		w, backend := stay(t, b, "/")
		live = append(live, w)
		on[backend]++
	}
	if on["a"] != 2 || on["b"] != 2 {
		t.Fatalf("the sessions are on %v", on)
	}
	// closedTo checks what holds while a gets nothing new.
	closedTo := func(state, reason string) {
		t.Helper()
		if got := knocks(t, b, "/", 10); got["b"] != 10 {
			t.Errorf("while a is %s, new sessions go to %v", state, got)
		}
		for _, w := range live {
			mustEcho(t, w, "while a is "+state)
		}
		b.checkState(t, "main", "a", state, reason)
		if s := b.backend(t, "main", "a"); s.Sessions != 2 {
			t.Errorf("while a is %s it has %d sessions, want the 2 it had", state, s.Sessions)
		}
	}
	openTo := func() {
		t.Helper()
		if got := knocks(t, b, "/", 10); got["a"] != 5 {
			t.Errorf("while a is up, new sessions go to %v", got)
		}
		b.checkState(t, "main", "a", "up", "http check /health: status 200")
	}

	before := time.Now()
	a.set(t, `{"health": 503}`)
	c := b.awaitChange(t, "main", "a", "draining", 0)
	a.awaitChecks(t, 1, "http", "503")
	if n, took := a.checks("http", "503"), c.at.Sub(before); n != 1 || took > interval+interval/10+slack {
		t.Errorf("it was draining after %d checks and %v, want one and at most %v", n, took, interval)
	}
	closedTo("draining", "http check /health: status 503")

	at := b.stderr.position()
	a.set(t, `{"health": 200}`)
	b.awaitChange(t, "main", "a", "up", at)
	openTo()

	at = b.stderr.position()
	a.set(t, `{"health": 500}`)
	b.awaitChange(t, "main", "a", "down", at)
	a.awaitChecks(t, fall, "http", "500")
	if n := a.checks("http", "500"); n != fall {
		t.Errorf("it was down after %d failed checks, with fall %d", n, fall)
	}
	closedTo("down", "http check /health: status 500, want 200")

	// A 503 of one that is down doesn't make it better.
	a.set(t, `{"health": 503}`)
	a.awaitChecks(t, 3, "http", "503")
	closedTo("down", "http check /health: status 500, want 200")

	at = b.stderr.position()
	a.set(t, `{"health": 200}`)
	b.awaitChange(t, "main", "a", "up", at)
	openTo()
	b.checkChanges(t, "main", "a", "draining", "up", "down", "warming", "up")
	b.checkChanges(t, "main", "b")
	if n := b.metrics(t)[`holdfast_backend_state_changes_total{backend="a",pool="main"}`]; n != 5 {
		t.Errorf("%v changes of state are counted, there were 5", n)
	}

	a.kill(t)
	if c := b.awaitChange(t, "main", "a", "down", b.stderr.position()); c.reason == "" {
		t.Errorf("no reason: %+v", c)
	}
	b.checkState(t, "main", "a", "down", "connection refused")
	leave(t, b, live...)
	b.stop(t)
}

// When most of a pool is down by checks that lie, its rest is spared, if that
// is asked for.
func TestMinHealthy(t *testing.T) {
	t.Parallel()
	servers := startMoody(t, 4)
	for _, m := range servers[:3] {
		m.set(t, `{"health": 500}`)
	}
	pool := `
    balance: round_robin
    health: {http: {path: /health}, interval: 1s, timeout: 900ms%s}
    backends: ` + configured(servers...) + "\n"
	b := balance(t, withPools("  brave:"+fmt.Sprintf(pool, ", min_healthy: 2")+"  half:"+fmt.Sprintf(pool, `, min_healthy: "50%"`)+
		"  plain:"+fmt.Sprintf(pool, "")+`routes:
  - {match: {path: /brave}, pool: brave}
  - {match: {path: /half}, pool: half}
  - {match: {path: /plain}, pool: plain}`))
	for _, pool := range []string{"brave", "half", "plain"} {
		for _, m := range servers[:3] {
			b.awaitState(t, pool, m.name, "down")
		}
	}
	for path, want := range map[string]map[string]int{
		"/brave": {"a": 3, "b": 3, "c": 3, "d": 3},
		"/half":  {"a": 3, "b": 3, "c": 3, "d": 3},
		"/plain": {"d": 12},
	} {
		if got := knocks(t, b, path, 12); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("sessions of %s go to %v, want %v", path, got, want)
		}
	}

	// Two that are well are enough. One that drains means it, whatever the
	// number of those left.
	at := b.stderr.position()
	servers[0].set(t, `{"health": 200}`)
	b.awaitChange(t, "brave", "a", "up", at)
	if got := knocks(t, b, "/brave", 12); got["a"] != 6 || got["d"] != 6 {
		t.Errorf("with two that are well, sessions go to %v", got)
	}
	at = b.stderr.position()
	servers[0].set(t, `{"health": 503}`)
	b.awaitChange(t, "brave", "a", "draining", at)
	if got := knocks(t, b, "/brave", 12); got["a"] != 0 || len(got) != 3 {
		t.Errorf("with one that drains and two that are down, sessions go to %v", got)
	}
	if _, status := knock(t, b, "/plain"); status != http.StatusSwitchingProtocols {
		t.Errorf("status %d", status)
	}
	b.stop(t)
}

//go:build unix

package health

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// A server still answers HTTP but no longer accepts WebSockets: the WebSocket
// check notices, the HTTP check never does.
func TestServerWithoutWebSockets(t *testing.T) {
	t.Parallel()
	for _, mood := range []string{"refuse", "deaf"} {
		t.Run(mood, func(t *testing.T) {
			t.Parallel()
			serverWithoutWebSockets(t, mood, map[string]string{
				"refuse": "websocket check /echo: status 500, want 101",
				"deaf":   "websocket check /echo: no pong within 1.4s",
			}[mood])
		})
	}
}

func serverWithoutWebSockets(t *testing.T, mood, reason string) {
	const fall, interval, timeout = 2, 1500 * time.Millisecond, 1400 * time.Millisecond
	sick, well := kit.StartToggleable(t, 1)[0], kit.StartNodeServer(t)
	backends := fmt.Sprintf("[{name: sick, address: %q}, {name: well, address: %q}]", sick.Address, well.Address)
	times := fmt.Sprintf("interval: %v, timeout: %v, fall: %d, rise: 2", interval, timeout, fall)
	b := kit.StartBalancer(t, kit.ConfigWithPools(`  by_http:
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
	sick.AwaitChecks(t, fall, "http", "200")
	sick.AwaitChecks(t, fall, "websocket", "well")
	old, _ := kit.Open(t, b, "/echo")
	older, _ := kit.Open(t, b, "/echo") // one of them is on each

	before := time.Now()
	sick.SetState(t, fmt.Sprintf(`{"websocket": %q}`, mood))
	found := b.AwaitChange(t, "by_websocket", "sick", "down", 0)
	sick.AwaitChecks(t, fall, "websocket", mood)
	if n := sick.Checks("websocket", mood); n != fall {
		t.Errorf("it was taken out after %d failed checks, with fall %d", n, fall)
	}
	kit.AtMost(t, "backend without WebSockets taken out", found.At.Sub(before), fall*(interval+interval/10)+timeout+kit.Slack)
	b.CheckState(t, "by_websocket", "sick", "down", reason)
	for range 6 {
		w, backend := kit.Open(t, b, "/echo")
		if backend != "" { // the other server doesn't tell its name
			t.Fatalf("a new session went to %q, which is down", backend)
		}
		kit.WantEcho(t, w, "hello")
		w.Close()
	}
	kit.WantEcho(t, old, "still here")
	kit.WantEcho(t, older, "still here")

	sick.AwaitChecks(t, sick.Checks("http", "200")+2*fall, "http", "200")
	b.CheckState(t, "by_http", "sick", "up", "")
	b.CheckState(t, "by_http", "well", "up", "")
	b.CheckState(t, "by_websocket", "well", "up", "")
	there := 0
	for range 4 {
		if backend, _ := kit.OpenAndClose(t, b, "/chat"); backend == "a" {
			there++
		}
	}
	if there != 2 {
		t.Errorf("by the HTTP check, %d of 4 handshakes went to the server that takes none, want half", there)
	}

	sick.SetState(t, `{"websocket": "well"}`)
	b.AwaitChange(t, "by_websocket", "sick", "up", 0)
	if got := kit.OpenAndCloseMany(t, b, "/echo", 4); got["a"] != 2 {
		t.Errorf("once it is well again, the sessions go to %v, want half to it", got)
	}
	b.CheckChanges(t, "by_websocket", "sick", "down", "warming", "up")
	for _, quiet := range [][2]string{{"by_http", "sick"}, {"by_http", "well"}, {"by_websocket", "well"}} {
		b.CheckChanges(t, quiet[0], quiet[1])
	}
	kit.CloseAll(t, b, old, older)
	b.Stop(t)
}

// A 503 means draining, at once; another failure means down, after several.
// Open sessions stay.
func TestDrainingAndDown(t *testing.T) {
	t.Parallel()
	const fall, interval = 3, 1500 * time.Millisecond
	servers := kit.StartToggleable(t, 2)
	a, other := servers[0], servers[1]
	b := kit.StartBalancer(t, kit.ConfigWithPools(fmt.Sprintf(`  main:
    balance: round_robin
    health: {http: {path: /health, expect: 200}, interval: %v, timeout: 1400ms, fall: %d, rise: 2}
    backends: %s`, interval, fall, kit.BackendList(servers...))))
	a.AwaitChecks(t, 1, "http", "200")
	other.AwaitChecks(t, 1, "http", "200")
	var live []*wspeer.Conn
	on := map[string]int{}
	for range 4 {
		w, backend := kit.Open(t, b, "/")
		live = append(live, w)
		on[backend]++
	}
	if on["a"] != 2 || on["b"] != 2 {
		t.Fatalf("the sessions are on %v", on)
	}
	// closedTo checks what holds while a gets nothing new.
	closedTo := func(state, reason string) {
		t.Helper()
		if got := kit.OpenAndCloseMany(t, b, "/", 10); got["b"] != 10 {
			t.Errorf("while a is %s, new sessions go to %v", state, got)
		}
		for _, w := range live {
			kit.WantEcho(t, w, "while a is "+state)
		}
		b.CheckState(t, "main", "a", state, reason)
		if s := b.Backend(t, "main", "a"); s.Sessions != 2 {
			t.Errorf("while a is %s it has %d sessions, want the 2 it had", state, s.Sessions)
		}
	}
	openTo := func() {
		t.Helper()
		if got := kit.OpenAndCloseMany(t, b, "/", 10); got["a"] != 5 {
			t.Errorf("while a is up, new sessions go to %v", got)
		}
		b.CheckState(t, "main", "a", "up", "http check /health: status 200")
	}

	before := time.Now()
	a.SetState(t, `{"health": 503}`)
	c := b.AwaitChange(t, "main", "a", "draining", 0)
	a.AwaitChecks(t, 1, "http", "503")
	if n := a.Checks("http", "503"); n != 1 {
		t.Errorf("it was draining after %d checks, want one", n)
	}
	kit.AtMost(t, "503 found", c.At.Sub(before), interval+interval/10+kit.Slack)
	closedTo("draining", "http check /health: status 503")

	at := b.Stderr.Position()
	a.SetState(t, `{"health": 200}`)
	b.AwaitChange(t, "main", "a", "up", at)
	openTo()

	at = b.Stderr.Position()
	a.SetState(t, `{"health": 500}`)
	b.AwaitChange(t, "main", "a", "down", at)
	a.AwaitChecks(t, fall, "http", "500")
	if n := a.Checks("http", "500"); n != fall {
		t.Errorf("it was down after %d failed checks, with fall %d", n, fall)
	}
	closedTo("down", "http check /health: status 500, want 200")

	// A 503 of one that is down doesn't make it better.
	a.SetState(t, `{"health": 503}`)
	a.AwaitChecks(t, 3, "http", "503")
	closedTo("down", "http check /health: status 500, want 200")

	at = b.Stderr.Position()
	a.SetState(t, `{"health": 200}`)
	b.AwaitChange(t, "main", "a", "up", at)
	openTo()
	b.CheckChanges(t, "main", "a", "draining", "up", "down", "warming", "up")
	b.CheckChanges(t, "main", "b")
	if n := b.Metrics(t)[`holdfast_backend_state_changes_total{backend="a",pool="main"}`]; n != 5 {
		t.Errorf("%v changes of state are counted, there were 5", n)
	}

	a.Kill(t)
	if c := b.AwaitChange(t, "main", "a", "down", b.Stderr.Position()); c.Reason == "" {
		t.Errorf("no reason: %+v", c)
	}
	b.CheckState(t, "main", "a", "down", "connection refused")
	kit.CloseAll(t, b, live...)
	b.Stop(t)
}

// When most of a pool is down according to health checks that are wrong, the
// rest keeps its share, if that is configured.
func TestMinHealthy(t *testing.T) {
	t.Parallel()
	servers := kit.StartToggleable(t, 4)
	for _, m := range servers[:3] {
		m.SetState(t, `{"health": 500}`)
	}
	pool := `
    balance: round_robin
    health: {http: {path: /health}, interval: 1500ms, timeout: 1400ms%s}
    backends: ` + kit.BackendList(servers...) + "\n"
	b := kit.StartBalancer(t, kit.ConfigWithPools("  brave:"+fmt.Sprintf(pool, ", min_healthy: 2")+"  half:"+fmt.Sprintf(pool, `, min_healthy: "50%"`)+
		"  plain:"+fmt.Sprintf(pool, "")+`routes:
  - {match: {path: /brave}, pool: brave}
  - {match: {path: /half}, pool: half}
  - {match: {path: /plain}, pool: plain}`))
	for _, pool := range []string{"brave", "half", "plain"} {
		for _, m := range servers[:3] {
			b.AwaitState(t, pool, m.Name, "down")
		}
	}
	for path, want := range map[string]map[string]int{
		"/brave": {"a": 3, "b": 3, "c": 3, "d": 3},
		"/half":  {"a": 3, "b": 3, "c": 3, "d": 3},
		"/plain": {"d": 12},
	} {
		if got := kit.OpenAndCloseMany(t, b, path, 12); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("sessions of %s go to %v, want %v", path, got, want)
		}
	}

	// Two that are well are enough. One that drains means it, whatever the
	// number of those left.
	at := b.Stderr.Position()
	servers[0].SetState(t, `{"health": 200}`)
	b.AwaitChange(t, "brave", "a", "up", at)
	if got := kit.OpenAndCloseMany(t, b, "/brave", 12); got["a"] != 6 || got["d"] != 6 {
		t.Errorf("with two that are well, sessions go to %v", got)
	}
	at = b.Stderr.Position()
	servers[0].SetState(t, `{"health": 503}`)
	b.AwaitChange(t, "brave", "a", "draining", at)
	if got := kit.OpenAndCloseMany(t, b, "/brave", 12); got["a"] != 0 || len(got) != 3 {
		t.Errorf("with one that drains and two that are down, sessions go to %v", got)
	}
	if _, status := kit.OpenAndClose(t, b, "/plain"); status != http.StatusSwitchingProtocols {
		t.Errorf("status %d", status)
	}
	b.Stop(t)
}

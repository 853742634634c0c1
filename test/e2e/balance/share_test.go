//go:build unix

package balance

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// A backend that comes back is warming until its checks have passed. Then its
// share of the new sessions grows from zero to its weight.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	const slowStart, batch = 4 * time.Second, 40
	servers := kit.StartToggleable(t, 2)
	a := servers[0]
	a.SetState(t, `{"health": 500}`)
	b := kit.StartBalancer(t, kit.ConfigWithPools(fmt.Sprintf(`  main:
    balance: round_robin
    health: {http: {path: /health}, interval: 1s, timeout: 950ms, rise: 4, slow_start: %v}
    backends: %s`, slowStart, kit.BackendList(servers...))))
	b.AwaitState(t, "main", "a", "down")
	if s := b.Backend(t, "main", "b"); s.Share != 1 {
		t.Errorf("b, which was there from the start, has a share of %v", s.Share)
	}

	a.SetState(t, `{"health": 200}`)
	b.AwaitState(t, "main", "a", "warming")
	got := kit.OpenAndCloseMany(t, b, "/", 4)
	b.CheckState(t, "main", "a", "warming", "http check /health: status 200")
	if got["a"] != 0 {
		t.Errorf("sessions go to %v while a is warming", got)
	}
	up := b.AwaitChange(t, "main", "a", "up", 0)

	share := func() float64 { return b.Backend(t, "main", "a").Share }
	part := func(share float64) float64 { return batch * share / (1 + share) }
	pause := time.NewTicker(slowStart / 12)
	defer pause.Stop()
	growing := 0
	for before := 0.0; before < 1; <-pause.C {
		least := share()
		if least < before {
			t.Errorf("the share went from %v to %v", before, least)
		}
		got := float64(kit.OpenAndCloseMany(t, b, "/", batch)["a"])
		before = share()
		// Round robin stays within one of the exact share, and that changes
		// during a batch.
		if got < part(least)-2 || got > part(before)+2 {
			t.Errorf("%v of %d sessions went to a while its share was %v to %v", got, batch, least, before)
		}
		t.Logf("%v after it was up: %v of %d sessions with a share of %.2f to %.2f", time.Since(up.At).Round(time.Millisecond), got, batch, least, before)
		if least > 0.05 && before < 0.95 {
			growing++
		}
	}
	took := time.Since(up.At)
	if took < slowStart {
		t.Errorf("it took %v to its whole share, with slow_start %v", took, slowStart)
	}
	kit.AtMost(t, "slow start", took, slowStart*3/2+kit.Slack)
	kit.AtLeast(t, "samples of a growing share", float64(growing), 4.0)
	if got := kit.OpenAndCloseMany(t, b, "/", batch)["a"]; got < batch/2-1 || got > batch/2+1 {
		t.Errorf("with its whole share it gets %d of %d sessions", got, batch)
	}
	b.CheckChanges(t, "main", "a", "down", "warming", "up")
	b.Stop(t)
}

// A backend that reports its load gets fewer sessions accordingly.
func TestReportedLoad(t *testing.T) {
	t.Parallel()
	servers := kit.StartToggleable(t, 2)
	a := servers[0]
	b := kit.StartBalancer(t, kit.ConfigWithPools(`  main:
    balance: round_robin
    health: {http: {path: /health}, interval: 1s, timeout: 950ms}
    backends: `+kit.BackendList(servers...)))
	for _, tt := range []struct {
		load  string // as JSON
		share float64
	}{
		{`"0.7"`, 0.3},
		{`"25%"`, 0.75},
		{`"lots"`, 0.75}, // keeps the last good one
		{`null`, 1},
		{`"1"`, 0.01},
	} {
		a.SetState(t, fmt.Sprintf(`{"load": %s}`, tt.load))
		before := a.Checks("http", "200")
		a.AwaitChecks(t, before+1, "http", "200")
		testkit.Eventually(t, fmt.Sprintf("share of %v with load %s", tt.share, tt.load), func() bool {
			return math.Abs(b.Backend(t, "main", "a").Share-tt.share) < 0.005
		})
		const n = 130
		due := n * tt.share / (1 + tt.share)
		if got := float64(kit.OpenAndCloseMany(t, b, "/", n)["a"]); math.Abs(got-due) > 2 {
			t.Errorf("with load %s it gets %v of %d sessions, want %.0f", tt.load, got, n, due)
		}
	}
	b.Stderr.Find(t, "warning", 0, func(line string) bool {
		return strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, `Holdfast-Load: \"lots\"`)
	})
	b.CheckChanges(t, "main", "a") // load is no state
	b.Stop(t)
}

// agent sends one line on each connection, as for HAProxy's agent-check.
type agent struct {
	port int
	mu   sync.Mutex
	line string
}

func startAgent(t testing.TB, line string) *agent {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{port: ln.Addr().(*net.TCPAddr).Port, line: line}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			a.mu.Lock()
			io.WriteString(conn, a.line+"\n")
			a.mu.Unlock()
			conn.Close()
		}
	})
	t.Cleanup(func() {
		ln.Close()
		serving.Wait()
	})
	return a
}

func (a *agent) say(line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line = line
}

// An answer of the agent takes effect with the next check.
func TestAgent(t *testing.T) {
	t.Parallel()
	const interval = time.Second
	server, agent := kit.StartToggleable(t, 1)[0], startAgent(t, "up ready 100%")
	b := kit.StartBalancer(t, kit.ConfigWithPools(fmt.Sprintf(`  main:
    health: {agent: {port: %d}, interval: %v, timeout: 950ms, fall: 3, rise: 3}
    backends: %s`, agent.port, interval, kit.BackendList(server))))
	live, _ := kit.Open(t, b, "/")
	for _, tt := range []struct {
		say, state, admin string
		share             float64
		reason            string
	}{
		{"50%", "up", "ready", 0.5, ""},
		{"drain", "drain", "drain", 0.5, "it says so"},
		{"ready", "up", "ready", 0.5, ""},
		{"75% maint", "maint", "maint", 0.75, "it says so"},
		{"ready", "up", "ready", 0.75, ""},
		{"down # out of memory", "down", "ready", 0.75, `it says down: "out of memory"`},
		{"100%", "down", "ready", 1, `it says down`}, // that alone takes nothing back
		{"up", "up", "ready", 1, "it reports no problem"},
		{"0%", "draining", "ready", 0.01, "it says 0%"},
		{"100%", "up", "ready", 1, ""},
	} {
		began := time.Now()
		agent.say(tt.say)
		var s kit.BackendStatus
		var without time.Duration // an effect, so far
		testkit.Eventually(t, fmt.Sprintf("%s with a share of %v after %q", tt.state, tt.share, tt.say), func() bool {
			asked := time.Since(began)
			s = b.Backend(t, "main", "a")
			if s.State == tt.state && math.Abs(s.Share-tt.share) < 0.005 {
				return true
			}
			without = asked
			return false
		})
		kit.AtMost(t, fmt.Sprintf("agent says %q, without effect", tt.say), without, interval+interval/10+kit.Slack)
		b.CheckState(t, "main", "a", tt.state, tt.reason)
		if s.Admin != tt.admin {
			t.Errorf("after %q, admin is %s, want %s", tt.say, s.Admin, tt.admin)
		}
		want := http.StatusServiceUnavailable
		if tt.state == "up" {
			want = http.StatusSwitchingProtocols
		}
		if _, status := kit.OpenAndClose(t, b, "/"); status != want {
			t.Errorf("after %q, a handshake gets status %d, want %d", tt.say, status, want)
		}
		kit.WantEcho(t, live, tt.say)
	}
	b.AwaitChange(t, "main", "a", "up", 0)
	kit.CloseAll(t, b, live)
	b.CheckChanges(t, "main", "a", "drain", "ready", "maint", "ready", "down", "up", "draining", "up")
	b.Stop(t)
}

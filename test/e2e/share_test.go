//go:build unix

package e2e

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
)

// A backend that comes back is warming until its checks have passed, and then
// its part of the new sessions grows from nothing to what it weighs.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	const slowStart, batch = 4 * time.Second, 40
	servers := startMoody(t, 2)
	a := servers[0]
	a.set(t, `{"health": 500}`)
	b := balance(t, withPools(fmt.Sprintf(`  main:
    balance: round_robin
    health: {http: {path: /health}, interval: 400ms, timeout: 350ms, rise: 4, slow_start: %v}
    backends: %s`, slowStart, configured(servers...))))
	b.awaitState(t, "main", "a", "down")
	if s := b.backend(t, "main", "b"); s.Share != 1 {
		t.Errorf("b, which was there from the start, has a share of %v", s.Share)
	}

	a.set(t, `{"health": 200}`)
	b.awaitState(t, "main", "a", "warming")
	got := knocks(t, b, "/", 4)
	b.checkState(t, "main", "a", "warming", "http check /health: status 200")
	if got["a"] != 0 {
		t.Errorf("sessions go to %v while a is warming", got)
	}
	up := b.awaitChange(t, "main", "a", "up", 0)

	share := func() float64 { return b.backend(t, "main", "a").Share }
	part := func(share float64) float64 { return batch * share / (1 + share) }
	pause := time.NewTicker(slowStart / 12)
	defer pause.Stop()
	growing := 0
	for before := 0.0; before < 1; <-pause.C {
		least := share()
		if least < before {
			t.Errorf("the share went from %v to %v", before, least)
		}
		got := float64(knocks(t, b, "/", batch)["a"])
		before = share()
		// Round robin keeps within one of what is due, and that changes
		// during a batch.
		if got < part(least)-2 || got > part(before)+2 {
			t.Errorf("%v of %d sessions went to a while its share was %v to %v", got, batch, least, before)
		}
		t.Logf("%v after it was up: %v of %d sessions with a share of %.2f to %.2f", time.Since(up.at).Round(time.Millisecond), got, batch, least, before)
		if least > 0.05 && before < 0.95 {
			growing++
		}
	}
	if took := time.Since(up.at); took < slowStart || took > slowStart*3/2+slack {
		t.Errorf("it took %v to its whole share, with slow_start %v", took, slowStart)
	}
	if growing < 4 {
		t.Errorf("%d samples in between", growing)
	}
	if got := knocks(t, b, "/", batch)["a"]; got < batch/2-1 || got > batch/2+1 {
		t.Errorf("with its whole share it gets %d of %d sessions", got, batch)
	}
	b.checkChanges(t, "main", "a", "down", "warming", "up")
	b.stop(t)
}

// A backend that reports its load gets so much less.
func TestReportedLoad(t *testing.T) {
	t.Parallel()
	servers := startMoody(t, 2)
	a := servers[0]
	b := balance(t, withPools(`  main:
    balance: round_robin
    health: {http: {path: /health}, interval: 400ms, timeout: 350ms}
    backends: `+configured(servers...)))
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
		a.set(t, fmt.Sprintf(`{"load": %s}`, tt.load))
		before := a.checks("http", "200")
		a.awaitChecks(t, before+1, "http", "200")
		await(t, fmt.Sprintf("share of %v with load %s", tt.share, tt.load), func() bool {
			return math.Abs(b.backend(t, "main", "a").Share-tt.share) < 0.005
		})
		const n = 130
		due := n * tt.share / (1 + tt.share)
		if got := float64(knocks(t, b, "/", n)["a"]); math.Abs(got-due) > 2 {
			t.Errorf("with load %s it gets %v of %d sessions, want %.0f", tt.load, got, n, due)
		}
	}
	b.stderr.find(t, "warning", 0, func(line string) bool {
		return strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, `Holdfast-Load: \"lots\"`)
	})
	b.checkChanges(t, "main", "a") // load is no state
	b.stop(t)
}

// agent says one line to whoever connects, as HAProxy's agent-check does.
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

// What an agent says takes effect with the next check.
func TestAgent(t *testing.T) {
	t.Parallel()
	const interval = 400 * time.Millisecond
	server, agent := startMoody(t, 1)[0], startAgent(t, "up ready 100%")
	b := balance(t, withPools(fmt.Sprintf(`  main:
    health: {agent: {port: %d}, interval: %v, timeout: 350ms, fall: 3, rise: 3}
    backends: %s`, agent.port, interval, configured(server))))
	live, _ := stay(t, b, "/")
	for _, tt := range []struct {
		say, state, admin string
		share             float64
		reason            string
	}{
		{"50%", "up", "ready", 0.5, ""},
		{"drain", "drain", "drain", 0.5, "it says so"},
		{"ready", "up", "ready", 0.5, "it says so"},
		{"75% maint", "maint", "maint", 0.75, "it says so"},
		{"ready", "up", "ready", 0.75, "it says so"},
		{"down # out of memory", "down", "ready", 0.75, `it says down: "out of memory"`},
		{"100%", "down", "ready", 1, `it says down`}, // that alone takes nothing back
		{"up", "up", "ready", 1, "it has nothing against it"},
		{"0%", "draining", "ready", 0.01, "it says 0%"},
		{"100%", "up", "ready", 1, ""},
	} {
		began := time.Now()
		agent.say(tt.say)
		var s backendStatus
		var without time.Duration // an effect, so far
		await(t, fmt.Sprintf("%s with a share of %v after %q", tt.state, tt.share, tt.say), func() bool {
			asked := time.Since(began)
			s = b.backend(t, "main", "a")
			if s.State == tt.state && math.Abs(s.Share-tt.share) < 0.005 {
				return true
			}
			without = asked
			return false
		})
		if without > interval+interval/10+slack {
			t.Errorf("%q had no effect after %v", tt.say, without)
		}
		b.checkState(t, "main", "a", tt.state, tt.reason)
		if s.Admin != tt.admin {
			t.Errorf("after %q, admin is %s, want %s", tt.say, s.Admin, tt.admin)
		}
		want := http.StatusServiceUnavailable
		if tt.state == "up" {
			want = http.StatusSwitchingProtocols
		}
		if _, status := knock(t, b, "/"); status != want {
			t.Errorf("after %q, a handshake gets status %d, want %d", tt.say, status, want)
		}
		mustEcho(t, live, tt.say)
	}
	b.awaitChange(t, "main", "a", "up", 0)
	leave(t, b, live)
	b.checkChanges(t, "main", "a", "drain", "ready", "maint", "ready", "down", "up", "draining", "up")
	b.stop(t)
}

//go:build unix

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	drainSessions = 2000
	drainTime     = 6 * time.Second
	drainSpread   = 4 * time.Second
)

func drainFile(engine string, backends []*startedBackend) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\nengine: %s\n", engine)
	fmt.Fprintf(&b, "pools:\n  main:\n    drain: {timeout: %v, spread: %v}\n    backends:\n", drainTime, drainSpread)
	for i, backend := range backends {
		fmt.Fprintf(&b, "      - {name: %s, address: %q}\n", backendName(i), backend.address)
	}
	return b.String()
}

// A rolling deploy as a script does it: one backend after another is drained,
// waited for, and put back, while all sessions exchange messages.
func TestRollingDrain(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		backends := startBackends(t, 3)
		b := balance(t, drainFile(engine, backends))
		c := gather(t, "member", b.address, drainSessions)
		b.awaitSessions(t, drainSessions)

		var drained []time.Time
		for i := range backends {
			began := time.Now()
			drained = append(drained, began)
			out := b.holdfast(t, 0, "drain", "main/"+backendName(i), "--wait")
			took := time.Since(began)
			if took < drainTime-drainSpread/2 || took > drainTime+2*time.Second {
				t.Errorf("%s was empty after %v, with a timeout of %v", backendName(i), took, drainTime)
			}
			if !strings.Contains(out, "sessions left") || !strings.HasSuffix(out, "main/"+backendName(i)+" is empty\n") {
				t.Errorf("the command said %q", out)
			}
			if r := backends[i].report(t); r.Open != 0 {
				t.Errorf("%s still has %d sessions", backendName(i), r.Open)
			}
			b.holdfast(t, 0, "undrain", "main/"+backendName(i))
		}
		c.awaitEnd(t)

		at := reports(t, backends)
		f := &faults{t: t}
		closes := make([][]time.Time, len(backends))
		for _, m := range c.members {
			checkGoneAway(f, m, at[m.id])
			for i := len(drained) - 1; i >= 0; i-- {
				if m.ending.at.After(drained[i]) {
					closes[i] = append(closes[i], m.ending.at)
					break
				}
			}
		}
		f.sum("sessions")
		for i := range closes {
			checkSpread(t, closes[i], drained[i].Add(drainTime-drainSpread), drainSpread, 1.2)
		}
		for _, entry := range b.logged("session closed") {
			if entry["cause"] != "backend_drained" || entry["close_code"] != 1001.0 {
				t.Fatalf("closed with %v", entry)
			}
		}
		again := gather(t, "again", b.address, 30)
		b.await(t, "sessions on all backends", func(m metrics) bool {
			return m[`holdfast_backend_sessions{backend="a",pool="main"}`] == 10 && m[`holdfast_backend_state{backend="a",pool="main",state="up"}`] == 1
		})
		again.disperse(t)
		b.stop(t)
	})
}

// checkSpread: the closes came within the window, evenly: no second has more
// than factor times the mean.
func checkSpread(t *testing.T, closes []time.Time, from time.Time, spread time.Duration, factor float64) {
	t.Helper()
	const slack = time.Second
	buckets := map[int]int{}
	for _, at := range closes {
		after := at.Sub(from)
		if after < -slack/4 || after > spread+slack {
			t.Errorf("a session was closed %v after the begin of the window of %v", after, spread)
		}
		buckets[int(after/time.Second)]++
	}
	mean := float64(len(closes)) / spread.Seconds()
	peak := 0
	for _, n := range buckets {
		peak = max(peak, n)
	}
	if float64(peak) > factor*mean {
		t.Errorf("%d closes came within one second, the mean over %v is %.0f", peak, spread, mean)
	}
	t.Logf("%d closes, peak second %d, mean %.0f", len(closes), peak, mean)
}

// What is undrained in time keeps its sessions.
func TestUndrainKeepsSessions(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		backends := startBackends(t, 2)
		b := balance(t, drainFile(engine, backends))
		c := gather(t, "member", b.address, 100)
		b.awaitSessions(t, 100)
		b.holdfast(t, 0, "drain", "main/a", "--timeout", "2m")
		newcomers := gather(t, "newcomer", b.address, 20)
		b.await(t, "newcomers on b", func(m metrics) bool {
			return m[`holdfast_backend_sessions{backend="a",pool="main"}`] == 50 && m[`holdfast_backend_sessions{backend="b",pool="main"}`] == 70
		})
		if status := b.holdfast(t, 0, "status"); !strings.Contains(status, "drain") {
			t.Errorf("status says %q", status)
		}
		b.holdfast(t, 0, "drain", "main/a", "--timeout", "2h") // asked again: later
		b.holdfast(t, 0, "undrain", "main/a")
		b.await(t, "a is up", func(m metrics) bool { return m[`holdfast_backend_state{backend="a",pool="main",state="up"}`] == 1 })
		c.disperse(t)
		newcomers.disperse(t)
		at := reports(t, backends)
		f := &faults{t: t}
		for _, m := range append(c.members, newcomers.members...) {
			checkComplete(f, m, at[m.id])
		}
		f.sum("sessions")

		if out := b.holdfast(t, 1, "drain", "main/nobody"); !strings.Contains(out, `there is no backend "main/nobody"`) {
			t.Errorf("of an unknown backend it says %q", out)
		}
		b.stop(t)
	})
}

// holdfast runs a command of the binary against the balancer, and returns what
// it wrote.
func (b *balancer) holdfast(t testing.TB, status int, args ...string) string {
	t.Helper()
	cmd := exec.Command(holdfast, append(args, "--admin", b.admin)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		t.Fatalf("holdfast %v: %v, want status %d: %s", args, err, status, out)
	}
	return string(out)
}

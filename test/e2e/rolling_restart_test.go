//go:build unix

package e2e

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a deploy and a crash meet: so many sessions, each with five messages a
// second both ways.
const manySessions = 2000

var talkative = manner{pause: 200 * time.Millisecond, broken: 15}

// roll does with a backend what a deploy script does: it is drained, waited
// for, started anew, and put back. It returns when that began and how long the
// drain took, and adds to at how its sessions ended there.
func (b *balancer) roll(t *testing.T, backend *startedBackend, name string, at map[string]ending) (began time.Time, took time.Duration) {
	t.Helper()
	began = time.Now()
	out := b.holdfast(t, 0, "drain", name, "--wait")
	took = time.Since(began)
	if !strings.Contains(out, "sessions left") || !strings.HasSuffix(out, name+" is empty\n") {
		t.Errorf("the command said %q", out)
	}
	backend.addReport(t, at)
	backend.restart(t)
	b.holdfast(t, 0, "undrain", name)
	return began, took
}

// A rolling restart where servers can take over sessions: nobody notices.
func TestRollingRestart(t *testing.T) {
	const spread = 2 * time.Second
	eachEngine(t, func(t *testing.T, engine string) {
		backends := startBackends(t, 3, startStore(t).env())
		b := balance(t, drainFile(engine, backends, "reattach: {on: drain}", fmt.Sprintf("drain: {timeout: 30s, spread: %v}", spread)))
		c := gatherAs(t, "member", b.address, manySessions, talkative)
		b.awaitSessions(t, manySessions)

		at := map[string]ending{}
		moves := 0.0
		for i, backend := range backends {
			moves += b.metrics(t)[sessionsOn(i)]
			if _, took := b.roll(t, backend, "main/"+backendName(i), at); took > spread+2*time.Second {
				t.Errorf("%s was empty after %v", backendName(i), took)
			}
			b.await(t, backendName(i)+" up", func(m metrics) bool { return m[stateOf(i, "up")] == 1 })
		}
		c.disperse(t)
		for _, backend := range backends {
			backend.addReport(t, at)
		}
		f := &faults{t: t}
		for _, m := range c.members {
			checkComplete(f, m, at[m.id])
		}
		f.sum("sessions")
		c.checkPace(t)

		m := b.awaitSessions(t, 0)
		if moved := m.moves("drain", "moved"); moved != moves || moves < manySessions || m.moves("", "") != moves {
			t.Errorf("%v sessions were moved, of %v attempts; %v had to be", moved, m.moves("", ""), moves)
		}
		if n := m["holdfast_sessions_total"]; n != manySessions {
			t.Errorf("%v sessions were opened, %d are meant to have outlived all", n, manySessions)
		}
		if !gapsWithin(t, m, 5*time.Second) {
			t.Error("some moves held their clients up for longer than 5s")
		}
		for _, entry := range b.logged("session closed") {
			if entry["cause"] != "client_closed" {
				t.Fatalf("closed with %v", entry)
			}
		}
		b.stop(t)
	})
}

// A rolling restart where they can't: who has to go is told so politely, a few
// at a time, and comes back.
func TestRollingRestartCloses(t *testing.T) {
	const timeout, spread = 4 * time.Second, 3 * time.Second
	eachEngine(t, func(t *testing.T, engine string) {
		backends := startBackends(t, 3)
		b := balance(t, drainFile(engine, backends, fmt.Sprintf("drain: {timeout: %v, spread: %v}", timeout, spread)))
		c := gatherAs(t, "member", b.address, manySessions, talkative)
		f := &faults{t: t}
		var peaks []float64 // by the balancer's log
		for i, backend := range backends {
			b.awaitSessions(t, manySessions)
			left := map[string]ending{}
			began, took := b.roll(t, backend, "main/"+backendName(i), left)
			if took < timeout-spread/2 || took > timeout+2*time.Second {
				t.Errorf("%s was empty after %v, with a timeout of %v", backendName(i), took, timeout)
			}
			gone := c.takeEnded(t, len(left))
			var closes []time.Time
			for _, m := range gone {
				checkGoneAway(f, m, left[m.id])
				closes = append(closes, m.ending.at)
			}
			if len(gone) < manySessions/3-5 || len(gone) != len(left) {
				t.Errorf("%d sessions are over, of %d on %s", len(gone), len(left), backendName(i))
			}
			// The clients share the processors with all else; one that was kept
			// from them sees its Close late, among those of the next.
			checkSpread(t, closes, began.Add(timeout-spread), spread, 2.2)
			peaks = append(peaks, peakOf(t, b.closesOf(t, backendName(i)), began.Add(timeout-spread), spread))
			again := gatherAs(t, fmt.Sprint("again-", i), b.address, len(gone), talkative)
			c.members = append(c.members, again.members...)
		}
		b.await(t, "sessions on the last", func(m metrics) bool { return m[sessionsOn(2)] > 0 && m[stateOf(2, "up")] == 1 })
		// It is 1.04 to 1.2 where the machine keeps up. Where it doesn't, what
		// was late comes with what is due: all at once would be 3.
		if slices.Sort(peaks); peaks[1] > 1.5 || peaks[2] > 2 {
			t.Errorf("the busiest seconds of the drains have %.2f of the mean, want 1.2", peaks)
		}
		c.disperse(t)
		c.checkPace(t)
		at := reports(t, backends)
		for _, m := range c.members {
			checkComplete(f, m, at[m.id])
		}
		f.sum("sessions")
		for _, entry := range b.logged("session closed") {
			if entry["cause"] != "client_closed" && (entry["cause"] != "backend_drained" || entry["close_code"] != 1001.0) {
				t.Fatalf("closed with %v", entry)
			}
		}
		b.stop(t)
	})
}

// closesOf are the times at which the log tells of the ends of a drained
// backend's sessions.
func (b *balancer) closesOf(t *testing.T, backend string) (closes []time.Time) {
	t.Helper()
	for _, entry := range b.logged("session closed") {
		if entry["cause"] == "backend_drained" && entry["backend"] == backend {
			at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(entry["time"]))
			if err != nil {
				t.Fatal(err)
			}
			closes = append(closes, at)
		}
	}
	return closes
}

// checkSpread: the closes came within the window, evenly: no second has more
// than factor times the mean.
func checkSpread(t *testing.T, closes []time.Time, from time.Time, spread time.Duration, factor float64) {
	t.Helper()
	if peak := peakOf(t, closes, from, spread); peak > factor {
		t.Errorf("the busiest second has %.2f of the mean, want %v at most", peak, factor)
	}
}

// peakOf is how many closes came within the busiest second, divided by the
// mean. All must have come within the window.
func peakOf(t *testing.T, closes []time.Time, from time.Time, spread time.Duration) float64 {
	t.Helper()
	const slack = time.Second
	slices.SortFunc(closes, time.Time.Compare)
	peak := 0
	for i, at := range closes {
		if after := at.Sub(from); after < -slack/4 || after > spread+slack {
			t.Errorf("a session was closed %v after the begin of the window of %v", after, spread)
		}
		n, _ := slices.BinarySearchFunc(closes[i:], at.Add(time.Second), time.Time.Compare)
		peak = max(peak, n)
	}
	mean := float64(len(closes)) / spread.Seconds()
	t.Logf("%d closes, at most %d within a second, the mean %.0f", len(closes), peak, mean)
	return float64(peak) / mean
}

// takeEnded takes the n whose sessions have ended out of the crowd.
func (c *crowd) takeEnded(t testing.TB, n int) (gone []*member) {
	t.Helper()
	await(t, fmt.Sprintf("end of %d sessions", n), func() bool {
		c.members = slices.DeleteFunc(c.members, func(m *member) bool {
			select {
			case <-m.over:
				gone = append(gone, m)
				return true
			default:
				return false
			}
		})
		return len(gone) >= n
	})
	return gone
}

// checkPace: they have sent, and got, about five messages a second each.
func (c *crowd) checkPace(t testing.TB) {
	t.Helper()
	var sent, received, seconds float64
	for _, m := range c.members {
		sent += float64(m.ending.Sent)
		received += float64(m.ending.Received)
		seconds += (m.ending.at.Sub(m.opened) - m.manner.pause).Seconds() // before the first
	}
	t.Logf("%.2f messages a second from each client, %.2f to it", sent/seconds, received/seconds)
	if sent < 4*seconds || received < 4*seconds {
		t.Errorf("that is not 5 a second")
	}
}

// gapsWithin tells whether 99 % of the moves held the client up for no longer
// than limit, which is the end of a bucket.
func gapsWithin(t testing.TB, m metrics, limit time.Duration) bool {
	t.Helper()
	const name = "holdfast_reattach_gap_seconds"
	within := func(limit time.Duration) float64 {
		return m[fmt.Sprintf("%s_bucket{le=\"%v\"}", name, limit.Seconds())]
	}
	all := m[name+"_count"]
	t.Logf("%v gaps, %v ms on average; %v within 10 ms, %v within 100 ms, %v within 500 ms", all,
		math.Round(1000*m[name+"_sum"]/all), within(10*time.Millisecond), within(100*time.Millisecond), within(500*time.Millisecond))
	if moved := m.moves("", "moved"); all != moved {
		t.Errorf("of %v moves, %v gaps are told", moved, all)
	}
	return within(limit) >= 0.99*all
}

// moves counts the moves for a reason with a result; "" is any.
func (m metrics) moves(reason, result string) (n float64) {
	for series, value := range m {
		if strings.HasPrefix(series, "holdfast_reattach_total{") &&
			(reason == "" || strings.Contains(series, fmt.Sprintf("reason=%q", reason))) &&
			(result == "" || strings.Contains(series, fmt.Sprintf("result=%q", result))) {
			n += value
		}
	}
	return n
}

// Series of backend i of the pool "main".
func sessionsOn(i int) string {
	return fmt.Sprintf(`holdfast_backend_sessions{backend=%q,pool="main"}`, backendName(i))
}

func stateOf(i int, state string) string {
	return fmt.Sprintf(`holdfast_backend_state{backend=%q,pool="main",state=%q}`, backendName(i), state)
}

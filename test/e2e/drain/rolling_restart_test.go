//go:build unix

package drain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// roll restarts a backend as a deploy script does: drain it, wait, restart it,
// and undrain it. It returns when that began and how long the drain took, and
// adds to at how its sessions ended there.
func roll(t *testing.T, b *kit.Balancer, backend *kit.Backend, name string, at map[string]kit.Ending) (began time.Time, took time.Duration) {
	t.Helper()
	began = time.Now()
	out := b.Command(t, 0, "drain", name, "--wait")
	took = time.Since(began)
	if !strings.Contains(out, "sessions left") || !strings.HasSuffix(out, name+" is empty\n") {
		t.Errorf("the command said %q", out)
	}
	backend.AddReport(t, at)
	backend.Restart(t)
	b.Command(t, 0, "undrain", name)
	return began, took
}

// A rolling restart of servers that can take over sessions: clients notice
// nothing.
func TestRollingRestart(t *testing.T) {
	const spread = 2 * time.Second
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backends := kit.StartBackends(t, 3, kit.StartStore(t).Env())
		b := kit.StartBalancer(t, kit.DrainFile(engine, backends, "reattach: {on: drain, timeout: 2m}", fmt.Sprintf("drain: {timeout: 10m, spread: %v}", spread)))
		c := kit.StartCrowdWith(t, "member", b.Address, kit.ManySessions, kit.Frequent)
		b.AwaitSessions(t, kit.ManySessions)

		at := map[string]kit.Ending{}
		moves := 0.0
		for i, backend := range backends {
			moves += b.Metrics(t)[kit.SessionsSeries(i)]
			_, took := roll(t, b, backend, "main/"+kit.BackendName(i), at)
			kit.AtMost(t, "until "+kit.BackendName(i)+" was empty", took, spread+2*time.Second)
			b.AwaitMetrics(t, kit.BackendName(i)+" up", func(m kit.Metrics) bool { return m[stateOf(i, "up")] == 1 })
		}
		c.FinishAll(t)
		for _, backend := range backends {
			backend.AddReport(t, at)
		}
		f := &kit.Faults{T: t}
		for _, m := range c.Members {
			kit.CheckComplete(f, m, at[m.ID])
		}
		f.Sum("sessions")
		c.NoteRates(t)

		m := b.AwaitSessions(t, 0)
		if moved := m.Moves("drain", "moved"); moved != moves || moves < float64(kit.ManySessions) || m.Moves("", "") != moves {
			t.Errorf("%v sessions were moved, of %v attempts; %v had to be", moved, m.Moves("", ""), moves)
		}
		if n := m["holdfast_sessions_total"]; n != float64(kit.ManySessions) {
			t.Errorf("%v sessions were opened, %d are meant to have outlived all", n, kit.ManySessions)
		}
		kit.CheckGaps(t, m, 500*time.Millisecond)
		for _, entry := range b.LogEntries("session closed") {
			if entry["cause"] != "client_closed" {
				t.Fatalf("closed with %v", entry)
			}
		}
		b.Stop(t)
	})
}

// A rolling restart of servers that can't: sessions get a Close frame, a few at
// a time, and the clients reconnect.
func TestRollingRestartCloses(t *testing.T) {
	const timeout, spread = 4 * time.Second, 3 * time.Second
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backends := kit.StartBackends(t, 3)
		b := kit.StartBalancer(t, kit.DrainFile(engine, backends, fmt.Sprintf("drain: {timeout: %v, spread: %v}", timeout, spread)))
		c := kit.StartCrowdWith(t, "member", b.Address, kit.ManySessions, kit.Frequent)
		f := &kit.Faults{T: t}
		for i, backend := range backends {
			b.AwaitSessions(t, kit.ManySessions)
			left := map[string]kit.Ending{}
			began, took := roll(t, b, backend, "main/"+kit.BackendName(i), left)
			if took < timeout-spread/2 {
				t.Errorf("%s was empty after %v, with a timeout of %v", kit.BackendName(i), took, timeout)
			}
			kit.AtMost(t, "until "+kit.BackendName(i)+" was empty", took, timeout+2*time.Second)
			gone := c.RemoveEnded(t, len(left))
			var closes []time.Time
			for _, m := range gone {
				kit.CheckGoneAway(f, m, left[m.ID])
				closes = append(closes, m.Ending.At)
			}
			if len(gone) < kit.ManySessions/3-5 || len(gone) != len(left) {
				t.Errorf("%d sessions are over, of %d on %s", len(gone), len(left), kit.BackendName(i))
			}
			// The clients share the processors with all else; one that was kept
			// from them sees its Close late, among those of the next.
			kit.CheckSpread(t, "clients of "+kit.BackendName(i), closes, began.Add(timeout-spread), spread, 2.2)
			// All at once would be 3.
			kit.CheckSpread(t, "log of "+kit.BackendName(i), closesOf(t, b, kit.BackendName(i)), began.Add(timeout-spread), spread, 1.5)
			again := kit.StartCrowdWith(t, fmt.Sprint("again-", i), b.Address, len(gone), kit.Frequent)
			c.Members = append(c.Members, again.Members...)
		}
		b.AwaitMetrics(t, "sessions on the last", func(m kit.Metrics) bool { return m[kit.SessionsSeries(2)] > 0 && m[stateOf(2, "up")] == 1 })
		c.FinishAll(t)
		c.NoteRates(t)
		at := kit.Reports(t, backends)
		for _, m := range c.Members {
			kit.CheckComplete(f, m, at[m.ID])
		}
		f.Sum("sessions")
		for _, entry := range b.LogEntries("session closed") {
			if entry["cause"] != "client_closed" && (entry["cause"] != "backend_drained" || entry["close_code"] != 1001.0) {
				t.Fatalf("closed with %v", entry)
			}
		}
		b.Stop(t)
	})
}

// closesOf returns when the sessions of a drained backend were closed,
// according to the log.
func closesOf(t *testing.T, b *kit.Balancer, backend string) (closes []time.Time) {
	t.Helper()
	for _, entry := range b.LogEntries("session closed") {
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

func stateOf(i int, state string) string {
	return fmt.Sprintf(`holdfast_backend_state{backend=%q,pool="main",state=%q}`, kit.BackendName(i), state)
}

//go:build unix

package reattach

import (
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

const fewSessions = 300

// The only server of a pool is killed and restarted within the time for a move:
// all its sessions continue, as if there had been another.
func TestOnlyBackendKilled(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		backends := kit.StartBackends(t, 1, kit.StartStore(t).Env())
		b := kit.StartBalancer(t, kit.DrainFile(engine, backends, "reattach: {on: loss, timeout: 2m}"))
		how := kit.Frequent
		how.Unbroken, how.Lossy = true, true
		c := kit.StartCrowdWith(t, "member", b.Address, fewSessions, how)
		b.AwaitSessions(t, fewSessions)
		converse(t, c, 2)
		backends[0].Kill(t)
		time.Sleep(2 * time.Second) // what its start takes
		backends[0].Restart(t)
		b.AwaitMetrics(t, "all moved", func(m kit.Metrics) bool { return m.Moves("loss", "moved") == fewSessions })
		converse(t, c, 2)
		c.FinishAll(t)

		at := kit.Reports(t, backends)
		f := &kit.Faults{T: t}
		for _, m := range c.Members {
			checkMoved(f, m, at[m.ID])
		}
		f.Sum("sessions")
		if m := b.Metrics(t); m.Moves("loss", "") != fewSessions {
			t.Errorf("%v moves, want one a session:\n%v", m.Moves("loss", ""), m)
		}
		if lines := len(b.LogEntries("a backend doesn't take over a session")); lines > 10 {
			t.Errorf("%d lines of the log say that it isn't there", lines)
		}
		b.Stop(t)
	})
}

// checkMoved checks that the session continued after a loss: messages that were
// on their way may be missing, but none is doubled or out of order.
func checkMoved(f *kit.Faults, m *kit.Member, server kit.Ending) {
	f.T.Helper()
	if client := m.Ending; client.Fault != "" || server.Fault != "" || client.Code != 1000 || client.Gaps > 1 || server.Gaps > 1 || server.Reattach != "loss" {
		f.Add("%s: client %+v, server %+v", m.ID, client, server)
	}
}

// It doesn't come back: when the time is over, all clients get a Close frame.
func TestOnlyBackendGone(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		const timeout = 1500 * time.Millisecond
		backends := kit.StartBackends(t, 1)
		b := kit.StartBalancer(t, kit.DrainFile(engine, backends, "reattach: {on: loss, timeout: 1500ms}"))
		how := kit.Frequent
		how.Unbroken = true
		c := kit.StartCrowdWith(t, "member", b.Address, fewSessions, how)
		b.AwaitSessions(t, fewSessions)
		converse(t, c, 1)
		killed := time.Now()
		backends[0].Kill(t)
		c.AwaitEnd(t)
		f := &kit.Faults{T: t}
		for _, m := range c.Members {
			after := m.Ending.At.Sub(killed)
			if e := m.Ending; e.Code != 1012 || e.Fault != "" || after < timeout-200*time.Millisecond {
				f.Add("%s, %v after the kill: %+v", m.ID, after, e)
			}
		}
		f.Sum("sessions")
		if m := b.AwaitSessions(t, 0); m.Moves("loss", "unreachable") != fewSessions {
			t.Errorf("counted as %v", m)
		}
		b.Stop(t)
	})
}

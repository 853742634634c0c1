//go:build unix

package e2e

import (
	"testing"
	"time"
)

const fewSessions = 300

// The only server of a pool is killed, and started again within the time for a
// move: all its sessions go on, as if there had been another.
func TestOnlyBackendKilled(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		backends := startBackends(t, 1, startStore(t).env())
		b := balance(t, drainFile(engine, backends, "reattach: {on: loss}"))
		how := talkative
		how.unbroken, how.lossy = true, true
		c := gatherAs(t, "member", b.address, fewSessions, how)
		b.awaitSessions(t, fewSessions)
		c.converse(t, 2)
		backends[0].kill(t)
		time.Sleep(2 * time.Second) // what its start takes
		backends[0].restart(t)
		b.await(t, "all moved", func(m metrics) bool { return m.moves("loss", "moved") == fewSessions })
		c.converse(t, 2)
		c.disperse(t)

		at := reports(t, backends)
		f := &faults{t: t}
		for _, m := range c.members {
			checkMoved(f, m, at[m.id])
		}
		f.sum("sessions")
		if m := b.metrics(t); m.moves("loss", "") != fewSessions {
			t.Errorf("%v moves, want one a session:\n%v", m.moves("loss", ""), m)
		}
		if lines := len(b.logged("a backend doesn't take over a session")); lines > 10 {
			t.Errorf("%d lines of the log say that it isn't there", lines)
		}
		b.stop(t)
	})
}

// checkMoved: the session went on after a loss, missing perhaps what was on its
// way then, but nothing twice or out of order.
func checkMoved(f *faults, m *member, server ending) {
	f.t.Helper()
	if client := m.ending; client.Fault != "" || server.Fault != "" || client.Code != 1000 || client.Gaps > 1 || server.Gaps > 1 || server.Reattach != "loss" {
		f.add("%s: client %+v, server %+v", m.id, client, server)
	}
}

// It doesn't come back: when the time is over, all are told so.
func TestOnlyBackendGone(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		const timeout = 1500 * time.Millisecond
		backends := startBackends(t, 1)
		b := balance(t, drainFile(engine, backends, "reattach: {on: loss, timeout: 1500ms}"))
		how := talkative
		how.unbroken = true
		c := gatherAs(t, "member", b.address, fewSessions, how)
		b.awaitSessions(t, fewSessions)
		c.converse(t, 1)
		killed := time.Now()
		backends[0].kill(t)
		c.awaitEnd(t)
		f := &faults{t: t}
		for _, m := range c.members {
			after := m.ending.at.Sub(killed)
			if e := m.ending; e.Code != 1012 || e.Fault != "" || after < timeout-200*time.Millisecond || after > timeout+2*time.Second {
				f.add("%s, %v after the kill: %+v", m.id, after, e)
			}
		}
		f.sum("sessions")
		if m := b.awaitSessions(t, 0); m.moves("loss", "unreachable") != fewSessions {
			t.Errorf("told as %v", m)
		}
		b.stop(t)
	})
}

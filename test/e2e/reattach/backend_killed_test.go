//go:build unix

package reattach

import (
	"slices"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// forgiving makes the balancer retry a backend soon after it failed.
const forgiving = "health: {fail_timeout: 1s}"

// longestGap is the time that 99 % of the sessions of a killed backend should
// wait at most. The portable engine, with a goroutine for each side, needs 340
// to 540 ms if clients, servers and balancer share two processors.
func longestGap(engine string) time.Duration {
	if engine == "portable" {
		return time.Second
	}
	return 500 * time.Millisecond
}

// If servers can take over sessions, those of a dead server continue. These
// servers write each message at once; TestLostInsideItsMessage is about one
// that dies inside a message.
func TestBackendKilled(t *testing.T) {
	testkit.EachEngine(t, killOne)
}

func killOne(t *testing.T, engine string) {
	backends := kit.StartBackends(t, 3, kit.StartStore(t).Env())
	b := kit.StartBalancer(t, kit.DrainFile(engine, backends, "reattach: {on: loss, timeout: 2m}", forgiving))
	how := kit.Frequent
	how.Unbroken, how.Lossy = true, true
	c := kit.StartCrowdWith(t, "member", b.Address, kit.ManySessions, how)
	orphaned := b.AwaitSessions(t, kit.ManySessions)[kit.SessionsSeries(1)]
	converse(t, c, 4)
	killed := time.Now()
	backends[1].Kill(t)
	converse(t, c, 5)
	b.AwaitMetrics(t, "all moved", func(m kit.Metrics) bool { return m.Moves("loss", "") >= orphaned })
	backends[1].Restart(t)
	takesSessions(t, b, 1)
	c.FinishAll(t)

	at := kit.Reports(t, backends)
	f := &kit.Faults{T: t}
	ended, moved, missed := 0, 0, 0
	var outages []time.Duration
	for _, m := range c.Members {
		if !m.Ending.Complete {
			ended++
			t.Logf("%s: %+v", m.ID, m.Ending)
			continue
		}
		server := at[m.ID]
		kit.CheckComplete(f, m, server)
		if server.Reattach == "" {
			if m.Ending.Gaps+server.Gaps > 0 {
				f.Add("%s misses messages, but its backend lives: client %+v, server %+v", m.ID, m.Ending, server)
			}
			continue
		}
		moved++
		missed += m.Ending.Missed + server.Missed
		if m.Ending.Gaps > 1 || server.Gaps > 1 {
			f.Add("%s misses messages more than once: client %+v, server %+v", m.ID, m.Ending, server)
		}
		outages = append(outages, outage(m, killed))
	}
	f.Sum("sessions")
	if ended > 1+kit.ManySessions/1000 || moved+ended < int(orphaned) {
		t.Errorf("of %v sessions on the backend that was killed, %d were moved; %d of all have ended", orphaned, moved, ended)
	}
	slices.Sort(outages)
	t.Logf("%d sessions moved, %d ended, %d messages missed; the clients received nothing for %v in the median, %v at most",
		moved, ended, missed, outages[len(outages)/2], outages[len(outages)-1])
	kit.AtMost(t, "p99 of the time a client received nothing", outages[len(outages)*99/100], longestGap(engine))
	kit.CheckGaps(t, b.AwaitSessions(t, 0), longestGap(engine))
	c.NoteRates(t)
	b.Stop(t)
}

// If they can't, the clients of the dead server, and no others, get a Close
// frame. TestBackendLostInsideItsStream is about servers that die inside a
// message.
func TestBackendKilledCloses(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backends := kit.StartBackends(t, 3)
		b := kit.StartBalancer(t, kit.DrainFile(engine, backends, forgiving))
		how := kit.Frequent
		how.Unbroken = true
		c := kit.StartCrowdWith(t, "member", b.Address, kit.ManySessions, how)
		orphaned := int(b.AwaitSessions(t, kit.ManySessions)[kit.SessionsSeries(1)])
		converse(t, c, 4)
		backends[1].Kill(t)
		gone := c.RemoveEnded(t, orphaned)
		f := &kit.Faults{T: t}
		for _, m := range gone {
			if e := m.Ending; e.Code != 1012 || e.Fault != "" {
				f.Add("%s: %+v, want 1012", m.ID, e)
			}
		}
		backends[1].Restart(t)
		takesSessions(t, b, 1)
		c.FinishAll(t)
		at := kit.Reports(t, backends)
		for _, m := range c.Members {
			kit.CheckComplete(f, m, at[m.ID])
		}
		f.Sum("sessions")
		if len(gone) != orphaned || len(c.Members) != kit.ManySessions-orphaned {
			t.Errorf("%d sessions were closed, %d were on the backend that was killed", len(gone), orphaned)
		}
		b.Stop(t)
	})
}

// converse waits until each member has received n more messages on average.
func converse(t testing.TB, c *kit.Crowd, n int) {
	t.Helper()
	until := c.Received() + int64(n*len(c.Members))
	testkit.Eventually(t, "messages", func() bool { return c.Received() >= until })
}

// outage is how long after at the client received nothing, up to the end of its
// longest gap within two seconds.
func outage(m *kit.Member, at time.Time) (d time.Duration) {
	longest := time.Duration(0)
	for i, heard := range m.Arrivals {
		if i == 0 || heard.Before(at) || heard.After(at.Add(2*time.Second)) {
			continue
		}
		if silence := heard.Sub(m.Arrivals[i-1]); silence > longest {
			longest = silence
			d = min(silence, heard.Sub(at))
		}
	}
	return d
}

// takesSessions waits until backend i of the pool "main" gets new sessions.
func takesSessions(t testing.TB, b *kit.Balancer, i int) {
	t.Helper()
	var open []*wspeer.Conn
	testkit.Eventually(t, "sessions on "+kit.BackendName(i), func() bool {
		w, _, err := wspeer.Dial(b.Address, "/echo")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		open = append(open, w)
		return b.Metrics(t)[kit.SessionsSeries(i)] > 0
	})
	for _, w := range open {
		w.SendClose(1000, "")
	}
}

package metrics

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// changing is a source whose backends change.
type changing struct {
	fixedSource
	backends []BackendStat
	sent     map[uint32]uint64 // messages of clients, by backend
	pools    []PoolStat
}

func (c *changing) Backends() []BackendStat { return c.backends }
func (c *changing) Pools() []PoolStat       { return c.pools }
func (c *changing) BackendTraffic() map[uint32][2]session.Traffic {
	all := make(map[uint32][2]session.Traffic)
	for id, n := range c.sent {
		all[id] = [2]session.Traffic{{Messages: n, Bytes: 10 * n}}
	}
	return all
}

// with counts the lines of a scrape that contain text.
func with(text, scraped string) (n int) {
	for line := range strings.Lines(scraped) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// All who scrape see the last counts of a removed backend, for some minutes. Then its
// series go.
func TestSeriesOfRemovedBackendsAreDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &changing{backends: []BackendStat{{ID: 1, Pool: "chat", Name: "ws1"}, {ID: 2, Pool: "chat", Name: "ws2"}},
			sent: map[uint32]uint64{1: 5, 2: 7}, pools: []PoolStat{{Name: "chat"}}}
		m := New(src, Options{HandshakeResults: []string{"ok"}, CheckResults: []string{"passed"}, AffinityResults: []string{"kept"}})
		m.HandshakeDone(Labels{"chat", "ws2"}, "ok", time.Millisecond)
		m.HandshakeDone(Labels{Pool: "chat"}, "ok", time.Millisecond)
		m.Checked(Labels{"chat", "ws2"}, "passed", time.Millisecond)
		m.AffinityDone("chat", "kept")
		scrape(t, m)

		src.backends, src.sent[2] = src.backends[:1], 9
		m.SessionClosed(Labels{"chat", "ws2"}, session.BackendDrained, 1001)
		m.Refresh()
		for range 10 { // by two Prometheus servers, and by hand
			time.Sleep(keepRemoved / 11)
			text := scrape(t, m)
			for _, want := range []string{
				`holdfast_messages_total{backend="ws2",direction="from_client",pool="chat"} 9`,
				`holdfast_session_closes_total{backend="ws2",cause="backend_drained",code="1001",pool="chat"} 1`,
			} {
				if !strings.Contains(text, want) {
					t.Fatalf("the last scrapes lack %s", want)
				}
			}
			delete(src.sent, 2)
		}
		time.Sleep(keepRemoved)
		if n := with("ws2", scrape(t, m)); n > 0 {
			t.Errorf("%d series of a removed backend", n)
		}

		// So is a pool, with its series without a backend.
		src.backends, src.pools = nil, nil
		scrape(t, m)
		time.Sleep(keepRemoved + time.Second)
		if n := with("chat", holdfastLines(scrape(t, m))); n != with("chat", fixedLines) {
			t.Errorf("%d series of a removed pool, want only those of the source", n)
		}
	})
}

// Pods come and go for weeks, each with a new name. How many series there are depends on
// how many pods there are at a time, whether somebody scrapes or not.
func TestSeriesAreBoundedForWeeks(t *testing.T) {
	for _, scraped := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			src := &changing{pools: []PoolStat{{Name: "chat"}}}
			m := New(src, Options{HandshakeResults: []string{"opened"}, BackendStates: []string{"up", "down"}, CheckResults: []string{"passed"}})
			const pods, weeks = 20, 3
			most := 0
			for hour := range weeks * 7 * 24 {
				src.backends, src.sent = nil, map[uint32]uint64{}
				for i := range pods { // a rollout every hour
					b := BackendStat{ID: uint32(hour*pods + i + 1), Pool: "chat", Name: fmt.Sprintf("pod-%d-%d", hour, i), State: "up"}
					src.backends = append(src.backends, b)
					src.sent[b.ID] = 1
					at := Labels{b.Pool, b.Name}
					m.HandshakeDone(at, "opened", time.Millisecond)
					m.Checked(at, "passed", time.Millisecond)
					m.SessionClosed(at, session.ClientClosed, 1000)
				}
				m.Refresh()
				if scraped && hour%100 == 99 {
					most = max(most, strings.Count(holdfastLines(scrape(t, m)), "\n"))
				}
				time.Sleep(time.Hour)
			}
			// The pods of now and of the last rollout.
			if n := len(m.series.list()); n > 2*pods+2 {
				t.Errorf("%d tables of %d pods at a time", n, pods)
			}
			if n := len(m.meters); n > pods {
				t.Errorf("%d meters of %d pods", n, pods)
			}
			if scraped && (most > 150*pods || most == 0) {
				t.Errorf("%d lines for %d pods", most, pods)
			}
		})
	}
}

// Many that go at once don't stay for minutes.
func TestManyRemovedSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &changing{}
		m := New(src, Options{})
		for i := range 3 * maxRemoved {
			m.SessionClosed(Labels{"chat", fmt.Sprint("pod-", i)}, session.ClientClosed, 1000)
			if i%500 == 499 {
				m.Refresh()
				time.Sleep(time.Second)
			}
		}
		m.Refresh()
		if n := len(m.series.list()); n > maxRemoved+1 {
			t.Errorf("%d series, want %d", n, maxRemoved)
		}
		if s := (*m.series.all.Load())[Labels{"chat", fmt.Sprint("pod-", 3*maxRemoved-1)}]; s == nil {
			t.Error("the one that was removed last is gone, rather than those before it")
		}
	})
}

// fixedLines are the metrics of fixedSource for the pool "chat".
const fixedLines = `
holdfast_admission_queue{pool="chat"}
holdfast_admission_queued_total{pool="chat"}
holdfast_affinity_forgotten_keys_total{pool="chat",reason="expired"}
holdfast_affinity_forgotten_keys_total{pool="chat",reason="full"}
holdfast_affinity_learned_keys{pool="chat"}
holdfast_affinity_learned_keys_total{pool="chat"}
holdfast_discovery_up{pool="chat",source="dns _ws._tcp.chat.internal"}
holdfast_rebalance_excess{pool="chat"}
`

// A backend that comes back under its name, with another ID, continues its
// counters: a counter never decreases.
func TestCountersAreMonotonic(t *testing.T) {
	src := &changing{backends: []BackendStat{{ID: 1, Pool: "chat", Name: "ws1"}}, sent: map[uint32]uint64{1: 5}}
	m := New(src, Options{})
	want := func(n int) {
		t.Helper()
		if line := fmt.Sprintf(`holdfast_messages_total{backend="ws1",direction="from_client",pool="chat"} %d`+"\n", n); !strings.Contains(scrape(t, m), line) {
			t.Errorf("no line %s", line)
		}
	}
	want(5)
	src.backends = append(src.backends, BackendStat{ID: 2, Pool: "chat", Name: "ws1"}) // the old one still has sessions
	src.sent[2] = 3
	want(8)
	src.backends, src.sent[1] = src.backends[1:], 6
	want(9)
	delete(src.sent, 1)
	want(9)
	src.sent[2] = 1 // a loop that didn't answer
	want(9)
	src.sent[2] = 4
	want(10)
}

package metrics

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
)

func newCounting() (*changing, *Metrics) {
	src := &changing{backends: []BackendStat{{ID: 1, Pool: "chat", Name: "ws1"}, {ID: 2, Pool: "chat", Name: "ws2"}},
		sent: map[uint32]uint64{1: 5, 2: 7}, pools: []PoolStat{{Name: "chat"}}}
	m := New(src, Options{HandshakeResults: []string{"refused", "opened"}, Opened: "opened"})
	m.HandshakeDone(Labels{"chat", "ws1"}, "opened", time.Millisecond)
	m.HandshakeDone(Labels{"chat", "ws2"}, "opened", time.Second)
	m.HandshakeDone(Labels{"chat", "ws2"}, "refused", time.Minute)
	m.HandshakeDone(Labels{"chat", "ws2"}, "what is this", time.Minute)
	m.HandshakeDone(Labels{Pool: "chat"}, "refused", time.Millisecond)
	m.HandshakeDone(Labels{}, "refused", time.Millisecond)
	m.SessionClosed(Labels{"chat", "ws1"}, session.ClientClosed, 1000)
	m.SessionClosed(Labels{"chat", "ws1"}, session.ClientClosed, 4000)
	m.SessionClosed(Labels{"chat", "ws2"}, session.ClientLost, 0)
	return src, m
}

// sum adds the values of a metric whose labels have all of some texts.
func sum(t *testing.T, scraped, metric string, labels ...string) (n uint64) {
	t.Helper()
lines:
	for _, line := range regexp.MustCompile(`(?m)^`+metric+`\{(.*)\} (\S+)$`).FindAllStringSubmatch(scraped, -1) {
		for _, l := range labels {
			if !strings.Contains(line[1], l) {
				continue lines
			}
		}
		f, err := strconv.ParseFloat(line[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		n += uint64(f)
	}
	return n
}

// The admin API and a scrape say the same, of each backend and of the pool.
func TestCountsAgreeWithAScrape(t *testing.T) {
	_, m := newCounting()
	all, text := m.Counts(), scrape(t, m)
	check := func(what string, c *Counts, labels ...string) {
		t.Helper()
		opened := sum(t, text, "holdfast_handshakes_total", append(labels, `result="opened"`)...)
		for _, x := range []struct {
			name      string
			got, want uint64
		}{
			{"opened", c.Opened, opened},
			{"failed", c.Failed, sum(t, text, "holdfast_handshakes_total", labels...) - opened},
			{"messages", c.Messages(), sum(t, text, "holdfast_messages_total", labels...)},
			{"bytes", c.Bytes(), sum(t, text, "holdfast_bytes_total", labels...)},
			{"closed", c.Closed(), sum(t, text, "holdfast_session_closes_total", labels...)},
			{"closed by clients", c.Closes[session.ClientClosed], sum(t, text, "holdfast_session_closes_total", append(labels, `cause="client_closed"`)...)},
		} {
			if x.got != x.want {
				t.Errorf("%s: %s is %d, and by the metrics %d", what, x.name, x.got, x.want)
			}
		}
		for i, bound := range Bounds() {
			below := uint64(0)
			for _, n := range c.Durations[:i+1] {
				below += n
			}
			if want := sum(t, text, "holdfast_handshake_duration_seconds_bucket", append(labels, fmt.Sprintf(`le="%v"`, bound))...); below != want {
				t.Errorf("%s: %d handshakes up to %v s, and by the metrics %d", what, below, bound, want)
			}
		}
	}
	check("ws1", all.Backend("chat", "ws1"), `pool="chat"`, `backend="ws1"`)
	check("ws2", all.Backend("chat", "ws2"), `pool="chat"`, `backend="ws2"`)
	check("chat", all.Pool("chat"), `pool="chat"`)
	if c := all.Backend("chat", "ws2"); c.Opened != 1 || c.Failed != 2 || c.Messages() != 7 || c.Durations[len(Bounds())] != 2 {
		t.Errorf("ws2: %+v", c)
	}
	if c := all.Backend("chat", "ws9"); *c != (Counts{}) {
		t.Errorf("a backend that isn't there: %+v", c)
	}
}

// A pool keeps what a backend counted that has left, and is forgotten as a whole.
func TestCountsOfAPoolNeverShrink(t *testing.T) { synctest.Test(t, testNeverShrink) }

func testNeverShrink(t *testing.T) {
	src, m := newCounting()
	want := *m.Counts().Pool("chat")
	src.backends = src.backends[:1]
	scrape(t, m)
	delete(src.sent, 2)
	for range 3 {
		time.Sleep(keepRemoved)
		scrape(t, m)
		if got := *m.Counts().Pool("chat"); got != want {
			t.Errorf("after ws2 left: %+v, want %+v", got, want)
		}
	}
	if c := m.Counts().Backend("chat", "ws2"); *c != (Counts{}) {
		t.Errorf("ws2 is still there: %+v", c)
	}
	// It comes back, and counts on.
	src.backends, src.sent[3] = append(src.backends, BackendStat{ID: 3, Pool: "chat", Name: "ws2"}), 2
	if n := m.Counts().Pool("chat").Messages(); n != want.Messages()+2 {
		t.Errorf("%d messages, want %d", n, want.Messages()+2)
	}
	src.backends, src.pools = nil, nil
	for range 2 {
		scrape(t, m)
		time.Sleep(2 * keepRemoved)
	}
	if c := *m.Counts().Pool("chat"); c != (Counts{}) || len(m.gone) > 0 {
		t.Errorf("a pool that was removed: %+v", c)
	}
}

// Labels that differ only in invalid UTF-8 share a series, which counts once.
func TestCountsOfSharedSeries(t *testing.T) { synctest.Test(t, testSharedSeries) }

func testSharedSeries(t *testing.T) {
	_, m := newCounting()
	m.HandshakeDone(Labels{"chat", "ws\xff2"}, "opened", time.Millisecond)
	m.HandshakeDone(Labels{"chat", "ws?2"}, "opened", time.Millisecond)
	for range 3 {
		time.Sleep(keepRemoved)
		scrape(t, m)
	}
	if n := m.Counts().Pool("chat").Opened; n != 4 {
		t.Errorf("%d opened, want 4", n)
	}
}

func BenchmarkCountsOfThousandBackends(b *testing.B) {
	src := &changing{pools: []PoolStat{{Name: "chat"}}, sent: map[uint32]uint64{}}
	for i := range uint32(1000) {
		src.backends = append(src.backends, BackendStat{ID: i + 1, Pool: "chat", Name: fmt.Sprint("ws", i)})
		src.sent[i+1] = 1
	}
	m := New(src, Options{HandshakeResults: []string{"opened"}, Opened: "opened"})
	for b.Loop() {
		m.Counts()
	}
}

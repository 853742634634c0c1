package metrics

import (
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
)

type fixedSource struct{}

func (fixedSource) BackendTraffic() map[uint32][2]session.Traffic {
	return map[uint32][2]session.Traffic{
		1: {{Messages: 1, Bytes: 100}, {Messages: 2, Bytes: 200}},
		2: {{Messages: 9, Bytes: 900}, {Messages: 18, Bytes: 1800}},
		9: {{Messages: 5, Bytes: 5}, {Messages: 5, Bytes: 5}}, // unknown
	}
}
func (fixedSource) Pools() []PoolStat {
	return []PoolStat{{Name: "chat", Backends: 2, Available: 1, MaxSessions: 500}, {Name: "empty"}}
}
func (fixedSource) Active() int        { return 3 }
func (fixedSource) Opened() uint64     { return 7 }
func (fixedSource) Backlog() int64     { return 65536 }
func (fixedSource) LogDropped() uint64 { return 5 }
func (fixedSource) ShuttingDown() bool { return false }
func (fixedSource) Traces() TraceStat  { return TraceStat{Exported: 70, Dropped: 8, Failed: 9} }
func (fixedSource) Events() EventStat  { return EventStat{Streams: 2, Missed: 3} }
func (fixedSource) Changes() int       { return 4 }
func (fixedSource) Limits() LimitStat {
	return LimitStat{Counted: 6, Buckets: 7, Sessions: 9, MaxSessions: 1000, Handshakes: 2, MaxHandshakes: 250}
}
func (fixedSource) Learned() []LearnedStat {
	return []LearnedStat{{Pool: "chat", Keys: 90, Learned: 100, Expired: 3, Evicted: 7}}
}
func (fixedSource) Queues() []QueueStat {
	return []QueueStat{{Pool: "chat", Waiting: 4, Queued: 11}}
}
func (fixedSource) Certificates() []CertificateStat {
	expires := time.Unix(1_800_000_000, 0)
	return []CertificateStat{{"/etc/a.pem", "a.example", expires, false}, {"/etc/b.pem", "*.b.ex\xffample", expires, true}, {"/etc/a.pem", "a.example", expires, false}}
}
func (fixedSource) Rebalances() []RebalanceStat {
	return []RebalanceStat{{"chat", 250}, {"a\xffpi", 0}}
}
func (fixedSource) Backends() []BackendStat {
	return []BackendStat{
		{ID: 1, Pool: "chat", Name: "ws1", Sessions: 1, Removed: true},
		{ID: 2, Pool: "chat", Name: "ws1", Sessions: 1, Requests: 3, State: "up", Share: 1, MaxSessions: 400},
		{ID: 3, Pool: "chat", Name: "ws2", State: "down", Share: .25, Changes: 3, Draining: true, DrainLeft: 90 * time.Second},
		{ID: 4, Pool: "api", Name: "ws\xff1", Sessions: 1, State: "up", Share: 1},
	}
}
func (fixedSource) Discovery() []DiscoveryStat {
	return []DiscoveryStat{{"chat", "dns _ws._tcp.chat.internal", true}, {"api", "file b.json", false}}
}

func scrape(t testing.TB, m *Metrics) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != 200 {
		t.Fatalf("status %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// ws is an existing backend.
var ws = Labels{"chat", "ws1"}

// holdfastLines leaves out what differs between processes.
func holdfastLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, "holdfast_") && !strings.HasPrefix(line, "holdfast_build_info") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func newTestMetrics() *Metrics {
	return New(fixedSource{}, Options{Version: "1.2.3", HandshakeResults: []string{"ok", "no_route", "no_backend"}, TLSResults: []string{"ok", "refused"}, BackendTLSResults: []string{"ok", "untrusted"},
		AffinityResults: []string{"kept", "moved"}, BackendStates: []string{"up", "down"},
		ReattachReasons: []string{"drain", "loss"}, ReattachResults: []string{"moved", "no_backend"}, AuthResults: []string{"permitted", "cached"}, CheckResults: []string{"passed", "failed"}})
}

var update = flag.Bool("update", false, "write the golden file")

func TestGolden(t *testing.T) {
	m := newTestMetrics()
	m.HandshakeDone(ws, "ok", 3*time.Millisecond)
	m.HandshakeDone(ws, "ok", 300*time.Microsecond)
	m.HandshakeDone(Labels{}, "no_route", 20*time.Second)
	m.HandshakeDone(Labels{Pool: "empty"}, "no_backend", time.Second)
	m.HandshakeDone(Labels{"api", "ws\xff1"}, "what is this", time.Minute)
	m.TLSDone("ok", "1.3", true)
	m.TLSDone("ok", "1.3", true)
	m.TLSDone("ok", "1.2", false)
	m.TLSDone("refused", "", false)
	m.TLSDone("what is this", "1.1", true)
	m.BackendTLSDone("chat", "ok", "1.3", true)
	m.BackendTLSDone("empty", "untrusted", "", false)
	m.AffinityDone("chat", "kept")
	m.AffinityDone("chat", "what is this")
	m.Checked(ws, "passed", 2*time.Millisecond)
	m.Checked(ws, "failed", 3*time.Second)
	m.Checked(ws, "what is this", time.Millisecond)
	m.AdminDone("GET /v1/status", 200)
	m.AdminDone("GET /v1/status", 403)
	m.AdminDone("", 404)
	m.AdminDone("POST /v1/reload", 0)
	m.SessionMoved(ws, "drain", "moved", true, 2*time.Millisecond)
	m.SessionMoved(ws, "loss", "no_backend", false, time.Minute)
	m.SessionMoved(ws, "what is this", "moved", false, 0)
	m.SessionNotKept(ws)
	m.SessionClosed(ws, session.ClientClosed, 1000)
	m.SessionClosed(ws, session.ClientClosed, 1000)
	m.SessionClosed(ws, session.BackendClosed, 4123)
	m.SessionClosed(ws, session.ClientLost, 0)
	m.HTTPDone(ws, 200, time.Millisecond)
	m.HTTPDone(ws, 101, time.Hour)
	m.HTTPDone(Labels{Pool: "empty"}, 503, time.Second)
	m.HTTPDone(Labels{}, 0, time.Second)
	m.HTTPCut("backend_drained")
	m.HTTPCut("what is this")
	m.KeysRead(true)
	m.KeysRead(false)
	m.AuthRequestDone("permitted", 20*time.Millisecond)
	m.AuthRequestDone("cached", 0)
	m.AuthRequestDone("what is this", 0)
	m.ConfigStarted(time.UnixMilli(1_700_000_000_000))
	m.ConfigLoaded(false, time.UnixMilli(1_700_000_001_000))
	m.ConfigLoaded(true, time.UnixMilli(1_700_000_002_500))
	text := scrape(t, m)

	const file = "testdata/metrics.txt"
	if *update {
		if err := os.WriteFile(file, []byte(holdfastLines(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := holdfastLines(text); got != string(want) {
		t.Errorf("not the content of %s:\n%s", file, got)
	}
	for _, other := range []string{`holdfast_build_info{goversion="go1.`, `version="1.2.3"} 1`, "go_goroutines ", "process_open_fds "} {
		if !strings.Contains(text, other) {
			t.Errorf("no %s", other)
		}
	}
}

func TestPeersCannotMakeLabels(t *testing.T) {
	m := newTestMetrics()
	for _, cause := range session.Causes() {
		if cause >= maxCauses {
			t.Fatalf("no room for cause %v", cause)
		}
		for code := range 1 << 16 {
			m.SessionClosed(ws, cause, uint16(code))
		}
	}
	m.SessionClosed(ws, 200, 1000) // no such cause
	series := strings.Count(scrape(t, m), "\nholdfast_session_closes_total{")
	if most := len(session.Causes())*codeLabels + 1; series > most || series < len(session.Causes())*10 {
		t.Errorf("%d series, want %d at most", series, most)
	}
}

func TestCodeLabels(t *testing.T) {
	for code, want := range map[uint16]string{
		0: "none", 1: "other", 999: "other", 1000: "1000", 1001: "1001", 1004: "other", 1005: "1005", 1006: "1006",
		1014: "1014", 1015: "other", 1016: "other", 2999: "other", 3000: "3000", 3001: "3xxx", 3003: "3003",
		3008: "3008", 3999: "3xxx", 4000: "4xxx", 4999: "4xxx", 5000: "other", 65535: "other",
	} {
		if got := codeLabel(codeIndex(code)); got != want {
			t.Errorf("code %d is counted as %s, want %s", code, got, want)
		}
	}
	seen := make(map[string]bool)
	for i := range codeLabels {
		label := codeLabel(i)
		if seen[label] {
			t.Errorf("label %s twice", label)
		}
		seen[label] = true
		if code, err := strconv.Atoi(label); err == nil && codeIndex(uint16(code)) != i && code != 1004 {
			t.Errorf("label %s is at %d, its code at %d", label, i, codeIndex(uint16(code)))
		}
	}
}

func TestCallersOfAdminCannotMakeLabels(t *testing.T) {
	m := newTestMetrics()
	for i := range 1000 {
		m.AdminDone(fmt.Sprint("GET /v1/", i), i)
	}
	if n := strings.Count(scrape(t, m), "\nholdfast_admin_requests_total{"); n > maxEndpoints+7 {
		t.Errorf("%d series", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	m := newTestMetrics()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 1000 {
				m.HandshakeDone(ws, "ok", time.Millisecond)
				m.SessionClosed(ws, session.Shutdown, 1001)
				if i%250 == 0 {
					scrape(t, m)
				}
			}
		})
	}
	all.Wait()
	text := scrape(t, m)
	for _, want := range []string{
		`holdfast_handshakes_total{backend="ws1",pool="chat",result="ok"} 4000`,
		`holdfast_handshake_duration_seconds_count{backend="ws1",pool="chat"} 4000`,
		`holdfast_session_closes_total{backend="ws1",cause="shutdown",code="1001",pool="chat"} 4000`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}

// hotPath has the methods that event loops call.
var hotPath = map[string]func(*Metrics){
	"HandshakeDone": func(m *Metrics) { m.HandshakeDone(ws, "no_route", 3*time.Millisecond) },
	"SessionClosed": func(m *Metrics) { m.SessionClosed(ws, session.BackendClosed, 4001) },
	"SessionMoved":  func(m *Metrics) { m.SessionMoved(ws, "loss", "moved", true, time.Second) },
	"AffinityDone":  func(m *Metrics) { m.AffinityDone("chat", "moved") },
	"Checked":       func(m *Metrics) { m.Checked(ws, "failed", time.Millisecond) },
	"HTTPDone":      func(m *Metrics) { m.HTTPDone(ws, 200, time.Millisecond) },
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	m := newTestMetrics()
	for name, call := range hotPath {
		if n := testing.AllocsPerRun(100, func() { call(m) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

func BenchmarkHotPath(b *testing.B) {
	m := newTestMetrics()
	for name, call := range hotPath {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call(m)
			}
		})
	}
}

func ExampleMetrics_SessionClosed() {
	m := New(fixedSource{}, Options{})
	m.SessionClosed(Labels{"chat", "ws1"}, session.ClientClosed, 4321) // a code chosen by the peer
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(line, "holdfast_session_closes_total") {
			fmt.Print(line)
		}
	}
	// Output: holdfast_session_closes_total{backend="ws1",cause="client_closed",code="4xxx",pool="chat"} 1
}

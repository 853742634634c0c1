package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/stage/overload"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// slow is a limiter with hardly any tokens.
func slow(o ratelimit.Options) *ratelimit.Limiter {
	q := ratelimit.New(ratelimit.Hooks{})
	if o.Rate == 0 {
		o.Rate = 0.001
	}
	if o.Queue == 0 {
		o.Queue = 100
	}
	if o.QueueTimeout == 0 {
		o.QueueTimeout = patience
	}
	o.Burst = max(o.Burst, 1)
	q.Configure(o)
	return q
}

func (b *balancer) allResults() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.results)
}

// awaitQueue waits until n handshakes wait.
func (b *balancer) awaitQueue(q *ratelimit.Limiter, n int) {
	b.t.Helper()
	for end := time.Now().Add(patience); q.Waiting() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("%d handshakes wait, want %d; log:\n%s", q.Waiting(), n, b.log)
		}
	}
}

// awaitGate waits until the gate counts so many inside.
func (b *balancer) awaitGate(want overload.Stats) {
	b.t.Helper()
	for end := time.Now().Add(patience); b.gate.Stats() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("the gate has %+v, want %+v", b.gate.Stats(), want)
		}
	}
}

// A handshake above the rate waits. Then it goes on as if it had just come, with
// what its client has sent meanwhile.
func TestHandshakesWait(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "one")
		q := slow(ratelimit.Options{Rate: 10})
		b := start(t, engine, setup{backends: []string{server.addr}, admit: q})
		b.dial().send(upgrade("/first")).want(101)
		large := "X-Large: " + strings.Repeat("x", 9000)
		began := time.Now()
		second := b.dial().send(upgrade("/second", large) + clientFrame(1, "with it"))
		b.awaitQueue(q, 1)
		second.send(clientFrame(1, "meanwhile"))
		third := b.dial().send(upgrade("/third"))
		second.want(101)
		second.wantBytes(serverFrame(1, "with it") + serverFrame(1, "meanwhile"))
		third.want(101)
		if took := time.Since(began); took < 150*time.Millisecond {
			t.Errorf("two handshakes took %v at a rate of 10/s", took)
		}
		third.send(clientFrame(1, "at last"))
		third.wantBytes(serverFrame(1, "at last"))
		b.wait("three sessions", func() bool { return len(b.opened) == 3 && len(b.results) == 3 })
		_, heads := server.seen()
		for i, want := range []string{"/first", "/second", "/third"} {
			if !strings.HasPrefix(heads[i], "GET "+want+" ") || i == 1 && !strings.Contains(heads[i], large) {
				t.Errorf("the backend's handshake %d was %.60q", i, heads[i])
			}
			if results := b.allResults(); results[i] != "opened" {
				t.Errorf("handshakes ended with %q", results)
			}
		}
		if q.Queued() != 2 || q.Waiting() != 0 {
			t.Errorf("%d have waited, %d wait", q.Queued(), q.Waiting())
		}
	})
}

// Plain HTTP needs no token.
func TestPlainHTTPDoesNotWait(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		q := slow(ratelimit.Options{})
		b := start(t, engine, setup{backends: []string{echoing(t, "one").addr}, admit: q})
		for range 5 {
			b.dial().send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").want(200)
		}
		b.dial().send(upgrade("/")).want(101)
	})
}

func TestClientsThatLeaveTheQueue(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		q := slow(ratelimit.Options{})
		b := start(t, engine, setup{backends: []string{echoing(t, "one").addr}, admit: q})
		b.dial().send(upgrade("/")).want(101)
		var leaving []*client
		for range 5 {
			leaving = append(leaving, b.dial().send(upgrade("/")))
		}
		b.awaitQueue(q, 5)
		b.awaitGate(overload.Stats{Sessions: 6, Waiting: 5})
		for i, c := range leaving {
			c.Close()
			b.awaitQueue(q, 4-i)
		}
		b.wait("their results", func() bool { return len(b.results) == 6 })
		if got := slices.Sorted(slices.Values(b.allResults())); !slices.Equal(got, append(slices.Repeat([]string{"client_gone"}, 5), "opened")) {
			t.Errorf("results %q", got)
		}
		b.awaitGate(overload.Stats{Sessions: 1})
	})
}

// retryAfter is the field of a 503, in seconds.
func retryAfter(t *testing.T, resp *http.Response) int {
	t.Helper()
	n, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil {
		t.Errorf("Retry-After: %v", err)
	}
	return n
}

func TestQueueTimeout(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		q := slow(ratelimit.Options{QueueTimeout: 50 * time.Millisecond})
		b := start(t, engine, setup{backends: []string{echoing(t, "one").addr}, admit: q})
		b.dial().send(upgrade("/")).want(101)
		c := b.dial().send(upgrade("/"))
		resp, _ := c.want(503)
		if n := retryAfter(t, resp); n != 1 {
			t.Errorf("Retry-After: %d, want 1 for so short a time", n)
		}
		c.wantEnd()
		b.wait("its result", func() bool { return len(b.results) == 2 && b.results[1] == "queue_timeout" })
	})
}

func TestFullQueue(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		q := slow(ratelimit.Options{Queue: 17, QueueTimeout: 20 * time.Second})
		b := start(t, engine, setup{backends: []string{echoing(t, "one").addr}, admit: q,
			trust: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
		enter := func(client string) *client { return b.dial().send(upgrade("/", "X-Forwarded-For: "+client)) }
		enter("192.0.2.1").want(101)
		for i := range 16 {
			enter("192.0.2.1")
			b.awaitQueue(q, i+1)
		}
		seen := map[int]bool{}
		for range 20 {
			resp, _ := enter("192.0.2.1").want(503)
			seen[retryAfter(t, resp)] = true
		}
		enter("192.0.2.2")
		b.awaitQueue(q, 17)
		for range 20 {
			resp, _ := enter("192.0.2.3").want(503)
			seen[retryAfter(t, resp)] = true
		}
		for n := range seen {
			if n < 10 || n > 30 {
				t.Errorf("Retry-After: %d, want 10 to 30 with a timeout of 20 s", n)
			}
		}
		if len(seen) < 5 {
			t.Errorf("Retry-After was one of %v 40 times", seen)
		}
		b.wait("the results", func() bool { return len(b.results) == 41 })
		counts := map[string]int{}
		for _, result := range b.allResults() {
			counts[result]++
		}
		if counts["queue_address"] != 20 || counts["queue_full"] != 20 {
			t.Errorf("results %v", counts)
		}
	})
}

// Handshakes go in the order in which they came, and addresses take turns.
func TestQueueTakesAddressesInTurn(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "one")
		q := slow(ratelimit.Options{})
		b := start(t, engine, setup{backends: []string{server.addr}, admit: q,
			trust: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
		b.dial().send(upgrade("/")).want(101)
		all := map[string]*client{}
		for i, path := range []string{"/a1", "/a2", "/a3", "/b1", "/b2", "/c1"} {
			all[path] = b.dial().send(upgrade(path, "X-Forwarded-For: 192.0.2."+strconv.Itoa(int(path[1]))))
			b.awaitQueue(q, i+1)
		}
		q.Configure(ratelimit.Options{Rate: 4, Burst: 1, Queue: 100}) // so slow that each reaches the backend before the next is let go
		want := []string{"/a1", "/b1", "/c1", "/a2", "/b2", "/a3"}
		for _, path := range want {
			all[path].want(101)
		}
		_, heads := server.seen()
		for i, path := range want {
			if !strings.HasPrefix(heads[i+1], "GET "+path+" ") {
				t.Errorf("the %dth was %.20q, want %s", i, heads[i+1], path)
			}
		}
	})
}

// A queued handshake goes by the configuration at the time of its turn.
func TestReloadWhileHandshakesWait(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b *balancer, s *setup, other string) (free bool)
		status int
		answer string
	}{
		"the backend is another": {func(b *balancer, s *setup, other string) bool {
			s.backends = []string{other}
			return false
		}, 101, "other"},
		"no queue any more": {func(b *balancer, s *setup, other string) bool {
			s.admit = nil
			return true
		}, 101, "one"},
		"the pool is another": {func(b *balancer, s *setup, other string) bool {
			s.pools = []pool.Spec{{Name: "new", Backends: []pool.BackendSpec{{Address: other}}}}
			s.rules = []route.Rule{{Pool: "new"}}
			s.admit = nil
			return false
		}, 101, "other"},
		"no route any more": {func(b *balancer, s *setup, other string) bool {
			s.rules = []route.Rule{{Host: host(t, "elsewhere.example"), Pool: "all"}}
			return true
		}, 404, ""},
		"the balancer stops": {func(b *balancer, s *setup, other string) bool {
			b.gate.Stop()
			return true
		}, 503, ""},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				q := slow(ratelimit.Options{})
				s := setup{backends: []string{echoing(t, "one").addr}, admit: q}
				b := start(t, engine, s)
				b.dial().send(upgrade("/")).want(101)
				waits := b.dial().send(upgrade("/"))
				b.awaitQueue(q, 1)
				free := c.change(b, &s, echoing(t, "other").addr)
				b.proxy.Swap(b.generation(s))
				if free {
					q.Configure(ratelimit.Options{})
				}
				resp, _ := waits.want(c.status)
				if got := resp.Header.Get("Server"); got != c.answer {
					t.Errorf("answered by %q, want %q", got, c.answer)
				}
			})
		})
	}
}

// A backend that doesn't answer costs its token. The next choice may have to wait
// for one.
func TestRetryWaits(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		good := echoing(t, "good")
		q := slow(ratelimit.Options{Rate: 5})
		b := start(t, engine, setup{backends: []string{testkit.FreeAddress(t), good.addr}, admit: q})
		var all []*client
		for range 4 {
			all = append(all, b.dial().send(upgrade("/")))
		}
		opened := 0
		for _, c := range all {
			resp, _ := c.answer()
			if resp.StatusCode == 101 {
				opened++
			} else if resp.StatusCode != 502 {
				t.Errorf("answered with %s", resp.Status)
			}
		}
		if opened == 0 || q.Queued() == 0 {
			t.Errorf("%d were opened, %d have waited", opened, q.Queued())
		}
	})
}

// Handshakes that wait when the engine ends release everything; the cleanup of
// start checks that.
func TestEngineEndsWhileHandshakesWait(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		q := slow(ratelimit.Options{})
		b := start(t, engine, setup{backends: []string{echoing(t, "one").addr}, admit: q})
		for range 10 {
			b.dial().send(upgrade("/"))
		}
		b.awaitQueue(q, 9)
	})
}

// A handshake that waits costs less than 2 KiB with a usual head.
func TestMemoryOfWaitingHandshakes(t *testing.T) {
	const n = 5000
	q := slow(ratelimit.Options{Queue: n, QueueTimeout: time.Hour})
	b := start(t, testkit.Engines()[0], setup{backends: []string{echoing(t, "one").addr}, admit: q, maxSessions: 3 * n,
		trust: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	b.dial().send(upgrade("/")).want(101)
	var clients [n]net.Conn
	head := func(i int) string {
		fields := []string{fmt.Sprintf("X-Forwarded-For: 10.0.%d.%d", i>>8, i&255)}
		return upgrade("/chat", append(fields, "Cookie: "+strings.Repeat("c", 500-10-len(upgrade("/chat", fields...))))...)
	}
	for i := range clients {
		c, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, head(i))
		clients[i] = c
	}
	b.awaitQueue(q, n)
	b.engine.Trim()
	waiting := memory()
	for _, c := range clients {
		c.Close()
	}
	b.awaitQueue(q, 0)
	b.wait("all results", func() bool { return len(b.results) == n+1 })
	b.engine.Trim()
	none := memory()
	heap, stacks, resident := (waiting[0]-none[0])/n, (waiting[1]-none[1])/n, (waiting[2]-none[2])/n
	t.Logf("a handshake with a head of %d bytes waits with %d bytes of heap, %d of stacks, %d of resident memory", len(head(0)), heap, stacks, resident)
	if cost := heap + max(stacks, 0); cost < 500 || cost >= 2048 {
		t.Errorf("a waiting handshake costs %d bytes, want less than 2048", cost)
	}
}

// memory is the heap, the stacks and, if the system reports it, the resident size.
func memory() (m [3]int) {
	var s runtime.MemStats
	runtime.GC() // the first of two, since sync.Pools last for one
	debug.FreeOSMemory()
	runtime.ReadMemStats(&s)
	m[0], m[1] = int(s.HeapAlloc), int(s.StackInuse)
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kib, _ := strconv.Atoi(f[1])
			m[2] = kib << 10
		}
	}
	return m
}

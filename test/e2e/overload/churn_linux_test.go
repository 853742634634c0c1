package overload

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

const (
	churnParallel = 200
	churnWarmUp   = 10_000
	// memoryMargin is how much more memory the balancer may have after the
	// last session than after the first churnWarmUp of them. Between them lie
	// 40,000 sessions: a leak of 256 bytes each would be 10 MB. Two moments
	// differ by some MB anyway, since the garbage collector lets the heap grow
	// to twice what is live.
	memoryMargin = 8 << 20
	// slowestClose is what a closing handshake should take at most: half of 5 s,
	// after which the balancer gave up one that got stuck.
	slowestClose = 2500 * time.Millisecond
)

// Many sessions open and close, and leave nothing behind.
func TestChurn(t *testing.T) {
	sessions := map[string]int{"epoll": 50_000, "portable": 20_000}
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backends := kit.StartBackends(t, 2)
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: kit.Addresses(backends), More: ""}.YAML())
		// Two lines a session would only be read and kept by this test.
		b.WriteConfig(t, kit.Settings{Engine: engine, Backends: kit.Addresses(backends), More: "log: {level: warn}"}.YAML())
		b.Signal(t, syscall.SIGHUP)
		b.AwaitMetrics(t, "reloaded", func(m kit.Metrics) bool {
			return m[`holdfast_config_reloads_total{result="success"}`] == 1
		})
		churn(t, b.Address, churnParallel) // what is allocated once is there now
		b.AwaitSessions(t, 0)
		type state struct{ descriptors, goroutines, resident int }
		measure := func() state {
			m := b.AwaitSessions(t, 0)
			return state{b.Descriptors(t), int(m["go_goroutines"]), b.Resident(t)}
		}
		fresh := measure()
		slowest := churn(t, b.Address, churnWarmUp)
		warm := measure()
		began := time.Now()
		rest := sessions[engine] - churnWarmUp
		slowest = max(slowest, churn(t, b.Address, rest))
		rate := float64(rest) / time.Since(began).Seconds()
		after := measure()
		t.Logf("%.0f sessions a second, slowest close %v; fresh %+v, warm %+v, after %+v", rate, slowest, fresh, warm, after)

		b.AwaitMetrics(t, fmt.Sprintf("back to %+v", fresh), func(m kit.Metrics) bool {
			return int(m["go_goroutines"]) <= fresh.goroutines && b.Descriptors(t) <= fresh.descriptors
		})
		margin := memoryMargin
		if kit.RaceBuild() {
			margin *= 10
		}
		if grown := after.resident - warm.resident; grown > margin {
			t.Errorf("%d KiB more memory after %d further sessions", grown>>10, rest)
		}
		kit.AtMost(t, "slowest closing handshake", slowest, slowestClose)
		kit.AtLeast(t, "sessions/s", rate, 1000.0)
		all := float64(churnParallel + sessions[engine])
		m := b.Metrics(t)
		for series, want := range map[string]float64{
			"holdfast_sessions_total":                                          all,
			`holdfast_handshakes_total{result="opened"}`:                       all,
			`holdfast_session_closes_total{cause="client_closed",code="1000"}`: all,
			`holdfast_messages_total{direction="from_client"}`:                 all,
			`holdfast_messages_total{direction="from_backend"}`:                all,
			`holdfast_backend_sessions{backend="a",pool="main"}`:               0,
			`holdfast_backend_sessions{backend="b",pool="main"}`:               0,
			`holdfast_log_dropped_total`:                                       0,
		} {
			if m[series] != want {
				t.Errorf("%s is %v, want %v", series, m[series], want)
			}
		}
		b.Stop(t)
	})
}

// churn opens n sessions, some at a time. Each exchanges a message and is
// closed. It returns how long the slowest closing handshake took.
func churn(t *testing.T, address string, n int) time.Duration {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var mu sync.Mutex
	var slowest time.Duration
	var failed error
	var working sync.WaitGroup
	for range churnParallel {
		working.Go(func() {
			for left.Add(-1) >= 0 {
				took, err := visit(address)
				mu.Lock()
				slowest = max(slowest, took)
				if err != nil {
					failed = errors.Join(failed, err)
					left.Store(0)
				}
				mu.Unlock()
			}
		})
	}
	working.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
	return slowest
}

// visit opens and closes one session, and returns how long its closing
// handshake took.
func visit(address string) (took time.Duration, err error) {
	w, _, err := wspeer.Dial(address, "/echo")
	if err != nil {
		return 0, err
	}
	defer w.Close()
	w.SetDeadline(time.Now().Add(testkit.Patience))
	if err := w.SendText("hello"); err != nil {
		return 0, err
	}
	if text, err := w.Message(); err != nil || text != "hello" {
		return 0, fmt.Errorf("the echo is %q, %w", text, err)
	}
	began := time.Now()
	if err := w.SendClose(1000, ""); err != nil {
		return 0, err
	}
	var c *wspeer.CloseError
	if _, err := w.Message(); !errors.As(err, &c) || c.Code != 1000 {
		return 0, fmt.Errorf("instead of the answer to the Close: %w", err)
	}
	if err := w.ReadEnd(); err != nil {
		return 0, fmt.Errorf("after the Close: %w", err)
	}
	return time.Since(began), nil
}

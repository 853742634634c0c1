package e2e

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
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
	// slowestClose bounds a closing handshake: half of the time after which
	// the balancer cuts one that got stuck.
	slowestClose = 2500 * time.Millisecond
)

// Sessions come and go in great number: nothing of them stays behind.
func TestChurn(t *testing.T) {
	sessions := map[string]int{"epoll": 50_000, "portable": 20_000}
	eachEngine(t, func(t *testing.T, engine string) {
		backends := startBackends(t, 2)
		b := balance(t, settings{engine, addresses(backends), ""}.yaml())
		// Two lines a session would only be read and kept by this test.
		b.write(t, settings{engine, addresses(backends), "log: {level: warn}"}.yaml())
		b.signal(t, syscall.SIGHUP)
		b.await(t, "reloaded", func(m metrics) bool {
			return m[`holdfast_config_reloads_total{result="success"}`] == 1
		})
		churn(t, b.address, churnParallel) // what is allocated once is there now
		b.awaitSessions(t, 0)
		type state struct{ descriptors, goroutines, resident int }
		measure := func() state {
			m := b.awaitSessions(t, 0)
			return state{b.descriptors(t), int(m["go_goroutines"]), b.resident(t)}
		}
		fresh := measure()
		slowest := churn(t, b.address, churnWarmUp)
		warm := measure()
		began := time.Now()
		rest := sessions[engine] - churnWarmUp
		slowest = max(slowest, churn(t, b.address, rest))
		rate := float64(rest) / time.Since(began).Seconds()
		after := measure()
		t.Logf("%.0f sessions a second, slowest close %v; fresh %+v, warm %+v, after %+v", rate, slowest, fresh, warm, after)

		b.await(t, fmt.Sprintf("back to %+v", fresh), func(m metrics) bool {
			return int(m["go_goroutines"]) <= fresh.goroutines && b.descriptors(t) <= fresh.descriptors
		})
		margin := memoryMargin
		if raceBuild() {
			margin *= 10
		}
		if grown := after.resident - warm.resident; grown > margin {
			t.Errorf("%d KiB more memory after %d further sessions", grown>>10, rest)
		}
		if slowest > slowestClose {
			t.Errorf("a closing handshake took %v", slowest)
		}
		all := float64(churnParallel + sessions[engine])
		m := b.metrics(t)
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
		b.stop(t)
	})
}

// churn opens n sessions, some at a time, has each exchange a message and
// closes it in order. It returns how long the slowest closing handshake took.
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

// visit is one session; it returns how long its closing handshake took.
func visit(address string) (took time.Duration, err error) {
	w, _, err := dialWire(address, "/echo")
	if err != nil {
		return 0, err
	}
	defer w.Close()
	w.SetDeadline(time.Now().Add(patience))
	if err := w.sendText("hello"); err != nil {
		return 0, err
	}
	if text, err := w.message(); err != nil || text != "hello" {
		return 0, fmt.Errorf("the echo is %q, %w", text, err)
	}
	began := time.Now()
	if err := w.sendClose(1000, ""); err != nil {
		return 0, err
	}
	var c *closed
	if _, err := w.message(); !errors.As(err, &c) || c.code != 1000 {
		return 0, fmt.Errorf("instead of the answer to the Close: %w", err)
	}
	if err := w.toEnd(); err != nil {
		return 0, fmt.Errorf("after the Close: %w", err)
	}
	return time.Since(began), nil
}

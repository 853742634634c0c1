//go:build unix

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// What Prometheus sees of a drain: its time and its sessions run out, and each
// session that is moved is counted.
func TestDrainMetrics(t *testing.T) {
	const sessions, timeout, spread = 30, 30 * time.Second, 2 * time.Second
	const left = `holdfast_backend_drain_seconds_left{backend="a",pool="main"}`
	eachEngine(t, func(t *testing.T, engine string) {
		backends := startBackends(t, 2)
		b := balance(t, drainFile(engine, backends[:1], "reattach: {on: [drain, loss]}", fmt.Sprintf("drain: {timeout: %v, spread: %v}", timeout, spread)))
		var open []*wire
		for range sessions {
			w, _ := stay(t, b, "/echo")
			open = append(open, w)
		}
		b.write(t, drainFile(engine, backends, "reattach: {on: [drain, loss]}", fmt.Sprintf("drain: {timeout: %v, spread: %v}", timeout, spread)))
		b.hangUp(t, reloaded)
		m := b.metrics(t)
		if _, ok := m[left]; ok || m[sessionsOn(0)] != sessions || m[stateOf(0, "up")] != 1 || m.moves("", "") != 0 {
			t.Errorf("before the drain: %v", m)
		}

		b.holdfast(t, 0, "drain", "main/a")
		before, between := metrics{left: timeout.Seconds() + 1}, 0
		b.await(t, "a is empty", func(m metrics) bool {
			if m[left] >= before[left] || m[left] <= 0 || m[sessionsOn(0)] > before[sessionsOn(0)] && before[sessionsOn(0)] > 0 ||
				m[stateOf(0, "drain")] != 1 || m[stateOf(0, "up")] != 0 || m.moves("drain", "moved") < before.moves("drain", "moved") {
				t.Errorf("after %v came %v", before, m)
			}
			before = m
			if n := m.moves("drain", "moved"); n > 0 && n < sessions {
				between++
			}
			return m[sessionsOn(0)] == 0
		})
		m = b.metrics(t)
		if m.moves("drain", "moved") != sessions || m.moves("", "") != sessions || m["holdfast_reattach_gap_seconds_count"] != sessions ||
			m[sessionsOn(1)] != sessions || m[stateOf(0, "drain")] != 1 || m[left] > (timeout-spread/2).Seconds() {
			t.Errorf("after the drain: %v", m)
		}
		if between < 5 {
			t.Errorf("it was seen %d times that some are moved and others not yet", between)
		}

		b.holdfast(t, 0, "undrain", "main/a")
		b.awaitBackend(t, "a", "up")
		if m := b.metrics(t); m[stateOf(0, "drain")] != 0 {
			t.Errorf("after undrain: %v", m)
		} else if n, ok := m[left]; ok {
			t.Errorf("%v s are left of a drain that is over", n)
		}

		backends[1].kill(t)
		m = b.await(t, "all moved", func(m metrics) bool { return m.moves("loss", "moved") == sessions })
		if m[sessionsOn(0)] != sessions || m["holdfast_reattach_gap_seconds_count"] != 2*sessions {
			t.Errorf("after the loss: %v", m)
		}
		for i, w := range open {
			mustEcho(t, w, fmt.Sprint("hello ", i))
		}
		leave(t, b, open...)
	})
}

// The queue is told of while somebody is in it, by the metrics and the status.
func TestQueueMetrics(t *testing.T) {
	const all = `holdfast_admission_queued_total{pool="main"}`
	const now = `holdfast_admission_queue{pool="main"}`
	eachEngine(t, func(t *testing.T, engine string) {
		b := balance(t, drainFile(engine, startBackends(t, 1), "admit: {rate: 4/s, burst: 1, ramp: 0}"))
		var coming sync.WaitGroup
		for range 8 {
			coming.Go(func() {
				if _, status := knock(t, b, "/echo"); status != http.StatusSwitchingProtocols {
					t.Errorf("status %d", status)
				}
			})
		}
		b.await(t, "5 in the queue", func(m metrics) bool { return m[now] >= 5 && m[all] >= m[now] })
		if status := b.holdfast(t, 0, "status"); !strings.Contains(status, " handshakes wait for a backend\n") {
			t.Errorf("status says %q", status)
		}
		b.await(t, "nobody in the queue", func(m metrics) bool { return m[now] == 0 && m[all] >= 5 && m[all] <= 7 })
		coming.Wait()
	})
}

//go:build unix

package drain

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// The metrics during a drain: its time and its number of sessions go down, and
// each session that is moved is counted.
func TestDrainMetrics(t *testing.T) {
	const sessions, timeout, spread = 30, 10 * time.Minute, 2 * time.Second
	const left = `holdfast_backend_drain_seconds_left{backend="a",pool="main"}`
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backends := kit.StartBackends(t, 2)
		b := kit.StartBalancer(t, kit.DrainFile(engine, backends[:1], "reattach: {on: [drain, loss]}", fmt.Sprintf("drain: {timeout: %v, spread: %v}", timeout, spread)))
		var open []*wspeer.Conn
		for range sessions {
			w, _ := kit.Open(t, b, "/echo")
			open = append(open, w)
		}
		b.WriteConfig(t, kit.DrainFile(engine, backends, "reattach: {on: [drain, loss]}", fmt.Sprintf("drain: {timeout: %v, spread: %v}", timeout, spread)))
		b.Reload(t, kit.Reloaded)
		m := b.Metrics(t)
		if _, ok := m[left]; ok || m[kit.SessionsSeries(0)] != sessions || m[stateOf(0, "up")] != 1 || m.Moves("", "") != 0 {
			t.Errorf("before the drain: %v", m)
		}

		b.Command(t, 0, "drain", "main/a")
		before, between := kit.Metrics{left: timeout.Seconds() + 1}, 0
		b.AwaitMetrics(t, "a is empty", func(m kit.Metrics) bool {
			if m[left] >= before[left] || m[left] <= 0 || m[kit.SessionsSeries(0)] > before[kit.SessionsSeries(0)] && before[kit.SessionsSeries(0)] > 0 ||
				m[stateOf(0, "drain")] != 1 || m[stateOf(0, "up")] != 0 || m.Moves("drain", "moved") < before.Moves("drain", "moved") {
				t.Errorf("after %v came %v", before, m)
			}
			before = m
			if n := m.Moves("drain", "moved"); n > 0 && n < sessions {
				between++
			}
			return m[kit.SessionsSeries(0)] == 0
		})
		m = b.AwaitMetrics(t, "all have been kept", func(m kit.Metrics) bool { return m.Moves("drain", "moved") >= sessions })
		if m.Moves("drain", "moved") != sessions || m.Moves("", "") != sessions || m["holdfast_reattach_gap_seconds_count"] != sessions ||
			m[kit.SessionsSeries(1)] != sessions || m[stateOf(0, "drain")] != 1 || m[left] > (timeout-spread/2).Seconds() {
			t.Errorf("after the drain: %v", m)
		}
		kit.AtLeast(t, "times that some are moved and others not yet", float64(between), 5.0)

		b.Command(t, 0, "undrain", "main/a")
		b.AwaitBackend(t, "a", "up")
		if m := b.Metrics(t); m[stateOf(0, "drain")] != 0 {
			t.Errorf("after undrain: %v", m)
		} else if n, ok := m[left]; ok {
			t.Errorf("%v s are left of a drain that is over", n)
		}

		backends[1].Kill(t)
		m = b.AwaitMetrics(t, "all moved", func(m kit.Metrics) bool { return m.Moves("loss", "moved") == sessions })
		if m[kit.SessionsSeries(0)] != sessions || m["holdfast_reattach_gap_seconds_count"] != 2*sessions {
			t.Errorf("after the loss: %v", m)
		}
		for i, w := range open {
			kit.WantEcho(t, w, fmt.Sprint("hello ", i))
		}
		kit.CloseAll(t, b, open...)
	})
}

// The metrics and the status show the queue while clients wait in it.
func TestQueueMetrics(t *testing.T) {
	const all = `holdfast_admission_queued_total{pool="main"}`
	const now = `holdfast_admission_queue{pool="main"}`
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		b := kit.StartBalancer(t, kit.DrainFile(engine, kit.StartBackends(t, 1), "admit: {rate: 4/s, burst: 1, ramp: 0}"))
		var coming sync.WaitGroup
		for range 8 {
			coming.Go(func() {
				if _, status := kit.OpenAndClose(t, b, "/echo"); status != http.StatusSwitchingProtocols {
					t.Errorf("status %d", status)
				}
			})
		}
		b.AwaitMetrics(t, "5 in the queue", func(m kit.Metrics) bool { return m[now] >= 5 && m[all] >= m[now] })
		if status := b.Command(t, 0, "status"); !strings.Contains(status, " handshakes wait for a backend\n") {
			t.Errorf("status says %q", status)
		}
		b.AwaitMetrics(t, "nobody in the queue", func(m kit.Metrics) bool { return m[now] == 0 && m[all] >= 5 && m[all] <= 7 })
		coming.Wait()
	})
}

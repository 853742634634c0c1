package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkMassLoss kills a backend that has 5,000 sessions, with two others
// there, and tells how long it took until the last was with another, for how
// long clients were not read, and how many descriptors and how much memory the
// balancer had at most beyond what it had before. It has a log line for each.
func BenchmarkMassLoss(b *testing.B) {
	for _, engine := range engines {
		b.Run(engine, func(b *testing.B) {
			for b.Loop() {
				massLoss(b, engine, 5000)
			}
		})
	}
}

func massLoss(t *testing.B, engine string, sessions int) {
	backends := startBackends(t, 3)
	b := balance(t, fmt.Sprintf(`
listeners: [{name: public, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
pools:
  main:
    reattach: {on: loss}
    backends: [{name: a, address: %q, weight: 256}, {name: b, address: %q}, {name: c, address: %q}]
`, engine, backends[0].address, backends[1].address, backends[2].address))
	openQuiet(t, b.address, sessions)
	m := b.awaitSessions(t, sessions)
	lost := int(m[`holdfast_backend_sessions{backend="a",pool="main"}`])

	open, resident := b.descriptors(t), b.resident(t)
	b.resetPeak(t)
	mostOpen := open
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for pause := time.NewTicker(20 * time.Millisecond); ; {
			mostOpen = max(mostOpen, b.descriptors(t))
			select {
			case <-pause.C:
			case <-over:
				return
			}
		}
	})
	before := b.stderr.position()
	began := time.Now()
	if err := backends[0].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var gaps []time.Duration
	for range lost {
		b.stderr.find(t, "move", before, func(line string) bool {
			before++
			e, moved := parseLog(line, "session moved")
			if moved {
				gaps = append(gaps, time.Duration(e["gap"].(float64)*float64(time.Second)))
			}
			return moved
		})
	}
	took := time.Since(began)
	close(over)
	watching.Wait()
	slices.Sort(gaps)
	t.ReportMetric(took.Seconds(), "s-all")
	t.ReportMetric(gaps[len(gaps)/2].Seconds()*1000, "ms-gap-p50")
	t.ReportMetric(gaps[len(gaps)*99/100].Seconds()*1000, "ms-gap-p99")
	t.ReportMetric(float64(mostOpen-open), "fds")
	t.ReportMetric(float64(b.peak(t)-resident)/(1<<20), "MB")
	t.ReportMetric(0, "ns/op")
}

// BenchmarkLookAgain kills the only backend, that has 2,000 sessions, and tells
// what it costs to look for it for 10 s: processor time of the balancer, and
// descriptors and memory beyond what it had before.
func BenchmarkLookAgain(b *testing.B) {
	for _, engine := range engines {
		for _, checks := range []string{"{}", "{tcp: true, interval: 500ms, timeout: 200ms}"} {
			b.Run(fmt.Sprintf("%s, checked %v", engine, checks != "{}"), func(b *testing.B) {
				for b.Loop() {
					lookAgain(b, engine, checks, 2000)
				}
			})
		}
	}
}

func lookAgain(t *testing.B, engine, checks string, sessions int) {
	backends := startBackends(t, 1)
	b := balance(t, drainFile(engine, backends, "reattach: {on: loss, timeout: 1m}", "health: "+checks))
	openQuiet(t, b.address, sessions)
	b.awaitSessions(t, sessions)
	time.Sleep(2 * time.Second) // what their beginning has left to do
	open, resident := b.descriptors(t), b.resident(t)
	b.resetPeak(t)
	backends[0].kill(t)
	before, mostOpen := b.processorTime(t), 0
	for range 100 {
		time.Sleep(100 * time.Millisecond)
		mostOpen = max(mostOpen, b.descriptors(t))
	}
	t.ReportMetric((b.processorTime(t)-before).Seconds()*100/10, "%-cpu")
	t.ReportMetric(float64(mostOpen-open), "fds")
	t.ReportMetric(float64(b.peak(t)-resident)/(1<<20), "MB")
	t.ReportMetric(0, "ns/op")
	if n := b.awaitSessions(t, sessions).moves("", ""); n != 0 {
		t.Errorf("%v moves have ended", n)
	}
}

// openQuiet opens sessions that say nothing, until the test's end.
func openQuiet(t testing.TB, address string, n int) {
	t.Helper()
	var mu sync.Mutex
	var opened []*wire
	var opening sync.WaitGroup
	for i := range 32 {
		opening.Go(func() {
			for range (n + i) / 32 {
				w, _, err := dialWire(address, "/quiet")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				opened = append(opened, w)
				mu.Unlock()
			}
		})
	}
	opening.Wait()
	t.Cleanup(func() {
		for _, w := range opened {
			w.Close()
		}
	})
}

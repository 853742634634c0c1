package reattach

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// BenchmarkMassLoss kills a backend with 5,000 sessions while two others are
// up. It reports when the last session was on another backend, how long clients
// were not read, and how many descriptors and how much memory the balancer
// needed in addition. It has a log line for each session.
func BenchmarkMassLoss(b *testing.B) {
	for _, engine := range testkit.Engines() {
		b.Run(engine, func(b *testing.B) {
			for b.Loop() {
				massLoss(b, engine, 5000)
			}
		})
	}
}

func massLoss(t *testing.B, engine string, sessions int) {
	backends := kit.StartBackends(t, 3)
	b := kit.StartBalancer(t, fmt.Sprintf(`
listeners: [{name: public, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
pools:
  main:
    reattach: {on: loss}
    backends: [{name: a, address: %q, weight: 256}, {name: b, address: %q}, {name: c, address: %q}]
`, engine, backends[0].Address, backends[1].Address, backends[2].Address))
	openQuiet(t, b.Address, sessions)
	m := b.AwaitSessions(t, sessions)
	lost := int(m[`holdfast_backend_sessions{backend="a",pool="main"}`])

	open, resident := b.Descriptors(t), b.Resident(t)
	b.ResetPeak(t)
	mostOpen := open
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for pause := time.NewTicker(20 * time.Millisecond); ; {
			mostOpen = max(mostOpen, b.Descriptors(t))
			select {
			case <-pause.C:
			case <-over:
				return
			}
		}
	})
	before := b.Stderr.Position()
	began := time.Now()
	if err := backends[0].Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var gaps []time.Duration
	for range lost {
		b.Stderr.Find(t, "move", before, func(line string) bool {
			before++
			e, moved := kit.ParseLog(line, "session moved")
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
	t.ReportMetric(float64(b.Peak(t)-resident)/(1<<20), "MB")
	t.ReportMetric(0, "ns/op")
}

// BenchmarkLookAgain kills the only backend, which has 2,000 sessions, and
// reports the cost of retrying for 10 s: processor time of the balancer, and
// additional descriptors and memory.
func BenchmarkLookAgain(b *testing.B) {
	for _, engine := range testkit.Engines() {
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
	backends := kit.StartBackends(t, 1)
	b := kit.StartBalancer(t, kit.DrainFile(engine, backends, "reattach: {on: loss, timeout: 1m}", "health: "+checks))
	openQuiet(t, b.Address, sessions)
	b.AwaitSessions(t, sessions)
	time.Sleep(2 * time.Second) // what their beginning has left to do
	open, resident := b.Descriptors(t), b.Resident(t)
	b.ResetPeak(t)
	backends[0].Kill(t)
	before, mostOpen := b.ProcessorTime(t), 0
	for range 100 {
		time.Sleep(100 * time.Millisecond)
		mostOpen = max(mostOpen, b.Descriptors(t))
	}
	t.ReportMetric((b.ProcessorTime(t)-before).Seconds()*100/10, "%-cpu")
	t.ReportMetric(float64(mostOpen-open), "fds")
	t.ReportMetric(float64(b.Peak(t)-resident)/(1<<20), "MB")
	t.ReportMetric(0, "ns/op")
	if n := b.AwaitSessions(t, sessions).Moves("", ""); n != 0 {
		t.Errorf("%v moves have ended", n)
	}
}

// openQuiet opens sessions that send nothing, until the end of the test.
func openQuiet(t testing.TB, address string, n int) {
	t.Helper()
	var mu sync.Mutex
	var opened []*wspeer.Conn
	var opening sync.WaitGroup
	for i := range 32 {
		opening.Go(func() {
			for range (n + i) / 32 {
				w, _, err := wspeer.Dial(address, "/quiet")
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

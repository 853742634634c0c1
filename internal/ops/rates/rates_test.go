package rates

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func one(n uint64) map[string]Values { return map[string]Values{"a": {Opened: n, Messages: 10 * n}} }

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Ring[string]
		ask := func(n uint64) Growth { return r.Since(time.Now(), one(n)).Growth("a") }
		if g := ask(100); g != (Growth{}) {
			t.Errorf("the first question: %+v, want nothing", g)
		}
		time.Sleep(500 * time.Millisecond)
		if g := ask(200); g != (Growth{}) {
			t.Errorf("half a second later: %+v, want nothing", g)
		}
		time.Sleep(1500 * time.Millisecond)
		if g := ask(300); g.Over != 2*time.Second || g.Opened != 100 || g.Messages != 1000 {
			t.Errorf("two seconds later: %+v, want 100 and 1000 a second", g)
		}
		// Asked every 100 ms, it compares with ten seconds ago.
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			ask(300)
		}
		if g := ask(400); g.Over < 9*time.Second || g.Over > 11*time.Second || math.Abs(g.Opened-100/g.Over.Seconds()) > 1e-9 {
			t.Errorf("asked all the time: %+v, want 100 in about ten seconds", g)
		}
		if n := len(r.samples); n > 12 {
			t.Errorf("%d samples are kept, want 12 at most", n)
		}
		// What was long ago says nothing about now.
		time.Sleep(2 * time.Minute)
		if g := ask(500); g.Over != 0 {
			t.Errorf("after a long time: %+v, want nothing", g)
		}
		if n := len(r.samples); n != 1 {
			t.Errorf("%d samples are kept after a long time, want 1", n)
		}
		// With a scrape every 15 s, it compares with the last one.
		for range 5 {
			time.Sleep(15 * time.Second)
			ask(600)
		}
		time.Sleep(5 * time.Second)
		if g := ask(650); g.Over != 5*time.Second || g.Opened != 10 {
			t.Errorf("with a question every 15 s: %+v, want 50 in 5 s", g)
		}
	})
}

// What comes, goes, or begins again under its old name has no absurd rate.
func TestKeysChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Ring[string]
		r.Since(time.Now(), map[string]Values{"gone": {Opened: 5}, "again": {Opened: 1000, Durations: []uint64{9}}})
		time.Sleep(10 * time.Second)
		s := r.Since(time.Now(), map[string]Values{"new": {Opened: 20}, "again": {Opened: 30, Durations: []uint64{3}}})
		for key, want := range map[string]float64{"gone": 0, "new": 2, "again": 3, "unknown": 0} {
			if g := s.Growth(key); g.Opened != want {
				t.Errorf("%s: %v a second, want %v", key, g.Opened, want)
			}
		}
		if n := s.Growth("again").Count; n != 3 {
			t.Errorf("%d durations, want 3", n)
		}
	})
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Ring[string]{Bounds: []float64{.1, 1, 10}}
		r.Since(time.Now(), map[string]Values{"a": {Durations: []uint64{50, 0, 0, 7}}})
		time.Sleep(10 * time.Second)
		g := r.Since(time.Now(), map[string]Values{"a": {Durations: []uint64{90, 58, 2, 7}}}).Growth("a")
		// 40 up to 0.1 s, 58 up to 1 s, 2 up to 10 s.
		if g.Count != 100 || math.Abs(g.P50-(.1+.9*10/58)) > 1e-9 || math.Abs(g.P99-5.5) > 1e-9 {
			t.Errorf("%+v", g)
		}
		time.Sleep(10 * time.Second)
		if g := r.Since(time.Now(), map[string]Values{"a": {Durations: []uint64{90, 58, 2, 7}}}).Growth("a"); g.Count != 0 || g.P50 != 0 || g.P99 != 0 {
			t.Errorf("without handshakes: %+v", g)
		}
		time.Sleep(10 * time.Second)
		if g := r.Since(time.Now(), map[string]Values{"a": {Durations: []uint64{90, 58, 2, 8}}}).Growth("a"); g.P50 != 10 || g.P99 != 10 {
			t.Errorf("above all bounds: %+v, want the last bound", g)
		}
	})
}

// A quantile is within the bounds of the duration that it stands for.
func TestQuantile(t *testing.T) {
	bounds := []float64{.001, .01, .1, 1}
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.SliceOfN(rapid.Float64Range(0, 2), 1, 50).Draw(t, "durations")
		counts := make([]uint64, len(bounds)+1)
		for _, d := range durations {
			i := 0
			for i < len(bounds) && d > bounds[i] {
				i++
			}
			counts[i]++
		}
		last := 0.0
		for _, q := range []float64{.01, .5, .9, .99, 1} {
			rank, sum, at := q*float64(len(durations)), 0.0, 0
			for at = range counts {
				if sum += float64(counts[at]); counts[at] > 0 && sum >= rank {
					break
				}
			}
			lo, hi := 0.0, bounds[len(bounds)-1]
			if at > 0 {
				lo = bounds[at-1]
			}
			if at < len(bounds) {
				hi = bounds[at]
			}
			got := quantile(bounds, counts, uint64(len(durations)), q)
			if got < lo || got > hi || got < last {
				t.Fatalf("quantile %v of %v is %v, want it from %v to %v, and not below %v", q, counts, got, lo, hi, last)
			}
			last = got
		}
	})
}

// Nothing runs while nobody asks.
func TestNoGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	var r Ring[string]
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for i := range uint64(100) {
				r.Since(time.Now(), one(i)).Growth("a")
			}
		})
	}
	asking.Wait()
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

func BenchmarkThousandBackends(b *testing.B) {
	values := map[string]Values{}
	for i := range 1000 {
		values[fmt.Sprint("backend-", i)] = Values{Opened: uint64(i), Durations: make([]uint64, 18)}
	}
	r := Ring[string]{Bounds: make([]float64, 17)}
	at := time.Unix(0, 0)
	for b.Loop() {
		at = at.Add(time.Second)
		s := r.Since(at, values)
		for key := range values {
			s.Growth(key)
		}
	}
}

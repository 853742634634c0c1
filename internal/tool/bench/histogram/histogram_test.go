package histogram_test

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/histogram"
)

// exact returns the q-quantile of sorted values by its definition: the smallest value
// that a fraction q of them don't exceed.
func exact(sorted []int64, q float64) int64 {
	i := 0
	for float64(i+1) < q*float64(len(sorted))-1e-6 {
		i++
	}
	return sorted[i]
}

// Quantiles are within 1 % of the exact ones, from nanoseconds to the longest
// duration.
func TestQuantiles(t *testing.T) {
	value := rapid.Custom(func(t *rapid.T) int64 {
		bits := rapid.IntRange(0, 62).Draw(t, "bits")
		return rapid.Int64Range(0, 1<<bits+(1<<bits-1)).Draw(t, "value")
	})
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(value, 1, 300).Draw(t, "values")
		var h, left, right histogram.Histogram
		var sum int64
		for i, v := range values {
			h.Record(time.Duration(v))
			[]*histogram.Histogram{&left, &right}[i%2].Record(time.Duration(v))
			sum += v
		}
		left.Add(&right)
		slices.Sort(values)
		s, merged := h.Summary(), left.Summary()
		if s != merged {
			t.Fatalf("merged from two halves %+v, directly %+v", merged, s)
		}
		for q, got := range map[float64]time.Duration{0.5: s.P50, 0.9: s.P90, 0.99: s.P99, 0.999: s.P999} {
			want := exact(values, q)
			if math.Abs(float64(got)-float64(want)) > 0.01*float64(want) {
				t.Errorf("quantile %v of %d values = %d, exactly %d", q, len(values), got, want)
			}
			if again := h.Quantile(q); again != got {
				t.Errorf("Quantile(%v) = %d, in Summary %d", q, again, got)
			}
		}
		if s.Count != uint64(len(values)) || int64(s.Max) != values[len(values)-1] {
			t.Errorf("count %d, max %d of %d", s.Count, s.Max, values)
		}
		if sum > 0 && int64(s.Mean) != sum/int64(len(values)) {
			t.Errorf("mean %d, exactly %d", s.Mean, sum/int64(len(values)))
		}
	})
}

func TestEmptyAndNegative(t *testing.T) {
	var h histogram.Histogram
	if s := h.Summary(); s != (histogram.Summary{}) || h.Quantile(0.5) != 0 {
		t.Errorf("empty: %+v", s)
	}
	h.Record(-time.Second)
	if s := h.Summary(); s.Count != 1 || s.Max != 0 || s.P50 != 0 {
		t.Errorf("a negative duration: %+v", s)
	}
}

func TestConcurrentUse(t *testing.T) {
	var h histogram.Histogram
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 1000 {
				h.Record(time.Duration(i))
			}
		})
	}
	all.Wait()
	if s := h.Summary(); s.Count != 4000 || s.Max != 999 {
		t.Errorf("got %+v", s)
	}
}

func TestAbove(t *testing.T) {
	var h histogram.Histogram
	for i := range 200 {
		h.Record(time.Duration(i))
	}
	for d, want := range map[time.Duration]uint64{-1: 199, 0: 199, 99: 100, 199: 0, time.Hour: 0} {
		if got := h.Above(d); got != want {
			t.Errorf("%d above %d, want %d", got, d, want)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	var h histogram.Histogram
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.Record(time.Duration(i & 0xfffff))
	}
}

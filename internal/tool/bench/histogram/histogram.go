// Package histogram computes quantiles of durations. It counts them in buckets whose
// width grows with the value, so that it needs a fixed 58 KiB for millions of values.
package histogram

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Every power of two is divided into 128 linear steps. So the width of a bucket is at
// most 1/128 of its value, and the error of its middle at most 0.4 %.
const (
	stepBits = 7
	linear   = 2 << stepBits // values below it have a bucket each
	buckets  = (63-stepBits-1)<<stepBits + linear
)

// Histogram is a histogram of durations. It is safe for concurrent use and must not be
// copied. The zero value is empty.
type Histogram struct {
	counts [buckets]atomic.Uint64
	max    atomic.Int64
	sum    atomic.Int64
}

// Record adds d. A negative duration counts as 0.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))].Add(1)
	h.sum.Add(int64(d))
	for {
		m := h.max.Load()
		if int64(d) <= m || h.max.CompareAndSwap(m, int64(d)) {
			return
		}
	}
}

// Add adds all values of o.
func (h *Histogram) Add(o *Histogram) {
	for i := range o.counts {
		if n := o.counts[i].Load(); n > 0 {
			h.counts[i].Add(n)
		}
	}
	h.sum.Add(o.sum.Load())
	h.max.Store(max(h.max.Load(), o.max.Load()))
}

// Summary has the values of a Histogram for a report.
type Summary struct {
	Count                          uint64
	Mean, P50, P90, P99, P999, Max time.Duration
}

// Summary returns a summary. Count, Mean and Max are exact; the error of the others is
// at most 1 %.
func (h *Histogram) Summary() Summary {
	s := Summary{Max: time.Duration(h.max.Load())}
	for i := range h.counts {
		s.Count += h.counts[i].Load()
	}
	if s.Count == 0 {
		return s
	}
	s.Mean = time.Duration(uint64(h.sum.Load()) / s.Count)
	wanted := []struct {
		q  float64
		to *time.Duration
	}{{0.5, &s.P50}, {0.9, &s.P90}, {0.99, &s.P99}, {0.999, &s.P999}}
	var seen uint64
	for i := range h.counts {
		seen += h.counts[i].Load()
		for len(wanted) > 0 && seen >= rank(wanted[0].q, s.Count) {
			*wanted[0].to = min(middle(i), s.Max)
			wanted = wanted[1:]
		}
	}
	return s
}

// Quantile returns the smallest value such that a fraction q of all values don't
// exceed it, with an error of at most 1 %. It returns 0 for an empty histogram.
func (h *Histogram) Quantile(q float64) time.Duration {
	var total, seen uint64
	for i := range h.counts {
		total += h.counts[i].Load()
	}
	if total == 0 {
		return 0
	}
	for i := range h.counts {
		seen += h.counts[i].Load()
		if seen >= rank(q, total) {
			return min(middle(i), time.Duration(h.max.Load()))
		}
	}
	return time.Duration(h.max.Load())
}

// Above returns the number of values greater than d, with the precision of a bucket.
func (h *Histogram) Above(d time.Duration) (n uint64) {
	for i := bucket(uint64(max(d, 0))) + 1; i < len(h.counts); i++ {
		n += h.counts[i].Load()
	}
	return n
}

// rank returns how many of n values don't exceed the quantile q.
func rank(q float64, n uint64) uint64 {
	// Subtract a margin because 0.99*100 may be slightly more than 99.
	return min(max(uint64(math.Ceil(q*float64(n)-1e-9)), 1), n)
}

func bucket(v uint64) int {
	if v < linear {
		return int(v)
	}
	shift := bits.Len64(v) - stepBits - 1 // v>>shift has stepBits+1 bits
	return shift<<stepBits + int(v>>shift)
}

// middle returns the middle of a bucket.
func middle(i int) time.Duration {
	if i < linear {
		return time.Duration(i)
	}
	shift := i>>stepBits - 1
	low := uint64(i-shift<<stepBits) << shift
	return time.Duration(low + 1<<shift/2)
}

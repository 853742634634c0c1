// Package rates computes how fast counters grow, and how long handshakes take, for those
// who ask now and then: no timer runs, and nothing is counted twice. A Ring keeps what the
// counters were at the last few questions, at most one a second.
package rates

import (
	"sync"
	"time"
)

const (
	// want is the time over which rates are computed, if there was a question then.
	want = 10 * time.Second
	// least is the shortest such time, and the time between two samples that are kept.
	least = time.Second
	// most is the longest one.
	most = time.Minute
)

// Values are the counters of something since the start.
type Values struct {
	Opened, Closed, Messages, Bytes uint64
	// Durations has how often something took a time within each of the Ring's bounds.
	// It may be nil.
	Durations []uint64
}

// Growth is how fast Values grow, a second.
type Growth struct {
	Over                            time.Duration
	Opened, Closed, Messages, Bytes float64
	// Count is the number of durations in that time, not a second. P50 and P99 are the
	// longest of the shortest 50 and 99 of 100, in seconds, as far as the bounds tell: within
	// two bounds, durations are taken to be spread evenly.
	Count    uint64
	P50, P99 float64
}

// Ring has the Values of some things, each with a key, at the last questions. The zero
// value is empty. Its methods are safe for concurrent use.
type Ring[K comparable] struct {
	// Bounds are the upper bounds of Values.Durations in seconds, but for the last one,
	// which has none.
	Bounds []float64

	mu      sync.Mutex  // guards the following
	samples []sample[K] // the oldest first
}

type sample[K comparable] struct {
	at     time.Time
	values map[K]Values
}

// Since compares the values of now with those of an earlier question, of about ten seconds
// ago if there was one: Growth computes by it. It keeps now, which must not be changed
// any more.
func (r *Ring[K]) Since(now time.Time, values map[K]Values) *Span[K] {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &Span[K]{now: values, bounds: r.Bounds}
	var best time.Duration
	for _, before := range r.samples {
		if age := now.Sub(before.at); age >= least && age <= most && (s.over == 0 || (age-want).Abs() <= best) {
			s.before, s.over, best = before.values, age, (age - want).Abs()
		}
	}
	r.keep(now, values)
	return s
}

// keep adds a sample, and drops those that no question will need: all that are older than
// the first that is old enough.
func (r *Ring[K]) keep(now time.Time, values map[K]Values) {
	if n := len(r.samples); n > 0 && now.Sub(r.samples[n-1].at) < least {
		return
	}
	first := 0
	for i, s := range r.samples {
		if age := now.Sub(s.at); age > most {
			first = i + 1
		} else if age >= want {
			first = i
		}
	}
	r.samples = append(append([]sample[K](nil), r.samples[first:]...), sample[K]{now, values})
}

// Span is the time between two questions.
type Span[K comparable] struct {
	before, now map[K]Values
	over        time.Duration
	bounds      []float64
}

// Growth returns how fast the values with a key grow. It is zero if there is no earlier
// question to compare with. What wasn't there then counts from 0.
func (s *Span[K]) Growth(key K) (g Growth) {
	if s.over == 0 {
		return g
	}
	now, before := s.now[key], s.before[key]
	rate := func(now, before uint64) float64 {
		if now < before { // another thing with the same key
			before = 0
		}
		return float64(now-before) / s.over.Seconds()
	}
	g = Growth{Over: s.over, Opened: rate(now.Opened, before.Opened), Closed: rate(now.Closed, before.Closed),
		Messages: rate(now.Messages, before.Messages), Bytes: rate(now.Bytes, before.Bytes)}
	counts := make([]uint64, len(now.Durations))
	for i, n := range now.Durations {
		if i < len(before.Durations) && n >= before.Durations[i] {
			n -= before.Durations[i]
		}
		counts[i] = n
		g.Count += n
	}
	g.P50, g.P99 = quantile(s.bounds, counts, g.Count, .5), quantile(s.bounds, counts, g.Count, .99)
	return g
}

// quantile computes as histogram_quantile of Prometheus does.
func quantile(bounds []float64, counts []uint64, all uint64, q float64) float64 {
	rank, sum := q*float64(all), 0.0
	for i, n := range counts {
		if n == 0 || sum+float64(n) < rank {
			sum += float64(n)
			continue
		}
		from := 0.0
		if i > 0 {
			from = bounds[i-1]
		}
		if i == len(bounds) {
			return from
		}
		return min(from+(bounds[i]-from)*(rank-sum)/float64(n), bounds[i])
	}
	return 0
}

package metrics

import (
	"slices"
	"sync/atomic"
	"time"
)

var (
	checksDesc = newSeriesDesc("holdfast_health_checks_total",
		"Health checks of a backend, by result.", "result")
	checkDesc = newSeriesDesc("holdfast_health_check_duration_seconds",
		"Time that health checks of a backend took, up to their timeout.")
)

// maxCheckResults is more than there are.
const maxCheckResults = 8

// checks counts the health checks of a backend. Most series have none, so that the
// histogram is allocated by the first.
type checks struct {
	words    []string                       // Options.CheckResults
	results  [maxCheckResults]atomic.Uint64 // by index in words; the last is for any other
	duration atomic.Pointer[histogram]
}

// Checked counts a health check of a backend that took d.
func (m *Metrics) Checked(l Labels, result string, d time.Duration) {
	c := &m.series.get(l).checks
	i := slices.Index(c.words, result)
	if i < 0 || i >= maxCheckResults {
		i = maxCheckResults - 1
	}
	c.results[i].Add(1)
	h := c.duration.Load()
	if h == nil {
		c.duration.CompareAndSwap(nil, new(histogram))
		h = c.duration.Load()
	}
	h.observe(d)
}

func (c *checks) collect(e emitter) {
	for i := range c.results {
		if n := c.results[i].Load(); n > 0 {
			result := "other"
			if i < len(c.words) {
				result = c.words[i]
			}
			e.counter(checksDesc, n, result)
		}
	}
	if h := c.duration.Load(); h != nil {
		e.histogram(checkDesc, h)
	}
}

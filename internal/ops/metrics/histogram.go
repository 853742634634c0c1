package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// durationBuckets, in seconds, range from a handshake on one machine to the
// longest timeout.
var durationBuckets = [...]float64{
	.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30,
}

// histogram counts durations. The zero value is empty.
type histogram struct {
	counts [len(durationBuckets) + 1]atomic.Uint64 // by bucket, not cumulative; the last has no bound
	nanos  atomic.Uint64                           // sum
}

func (h *histogram) observe(d time.Duration) {
	d = max(d, 0)
	seconds := d.Seconds()
	i := 0
	for i < len(durationBuckets) && seconds > durationBuckets[i] {
		i++
	}
	h.counts[i].Add(1)
	h.nanos.Add(uint64(d))
}

// metric returns the histogram for Prometheus, and the number of durations in it.
func (h *histogram) metric(desc *prometheus.Desc, labels ...string) (m prometheus.Metric, count uint64) {
	buckets := make(map[float64]uint64, len(durationBuckets))
	for i := range h.counts {
		count += h.counts[i].Load()
		if i < len(durationBuckets) {
			buckets[durationBuckets[i]] = count
		}
	}
	sum := time.Duration(h.nanos.Load()).Seconds()
	return prometheus.MustNewConstHistogram(desc, count, sum, buckets, labels...), count
}

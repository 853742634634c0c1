package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// descs are the metrics that the collector emits.
var descs []*prometheus.Desc

// newDesc describes a metric of the collector.
func newDesc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc(name, help, labels, nil)
	descs = append(descs, d)
	return d
}

// newSeriesDesc describes a metric whose first labels are those of a series.
func newSeriesDesc(name, help string, labels ...string) *prometheus.Desc {
	return newDesc(name, help, append([]string{"pool", "backend"}, labels...)...)
}

// collector is a prometheus.Collector.
type collector struct{ *Metrics }

// Describe is part of prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range descs {
		out <- d
	}
}

// Collect is part of prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	all, backends := c.refresh()
	c.collectSource(emitter{out: out}, backends)
	for _, s := range all {
		c.collectSeries(s, emitter{out: out, labels: []string{s.Pool, s.Backend}, always: s.Labels == Labels{}})
	}
}

// collectSeries emits the metrics of one series. Most combinations of labels
// never occur. They are emitted from their first event on. The series without a
// pool always has all of them, so that a sum over a metric exists from the start.
func (c collector) collectSeries(s *series, e emitter) {
	c.collectHandshakes(&s.handshakes, e)
	c.collectMoves(&s.moves, e)
	s.closes.collect(e)
	s.requests.collect(e)
	s.checks.collect(e)
	c.collectAffinity(s, e)
	if s.backendTLS != nil {
		s.backendTLS.collect(emitter{out: e.out, labels: []string{s.Pool}})
	}
	if s.Backend != "" {
		collectTraffic(&s.traffic, e)
	}
}

// emitter passes metrics to Prometheus. The labels come before those of a call.
type emitter struct {
	out    chan<- prometheus.Metric
	labels []string
	always bool // also emit what never happened
}

func (e emitter) emit(d *prometheus.Desc, t prometheus.ValueType, v float64, labels []string) {
	e.out <- prometheus.MustNewConstMetric(d, t, v, append(e.labels[:len(e.labels):len(e.labels)], labels...)...)
}

func (e emitter) counter(d *prometheus.Desc, n uint64, labels ...string) {
	e.emit(d, prometheus.CounterValue, float64(n), labels)
}

// event emits a counter if it isn't 0.
func (e emitter) event(d *prometheus.Desc, n uint64, labels ...string) {
	if n > 0 || e.always {
		e.counter(d, n, labels...)
	}
}

func (e emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.emit(d, prometheus.GaugeValue, v, labels)
}

// histogram emits h if it isn't empty.
func (e emitter) histogram(d *prometheus.Desc, h *histogram) {
	if m, n := h.metric(d, e.labels...); n > 0 || e.always {
		e.out <- m
	}
}

// Package metrics counts what the balancer does, for Prometheus. What event
// loops call costs a few atomic operations: no lock, no allocation, no label
// looked up by hashing a set of labels.
package metrics

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// Options are fixed when the metrics are made.
type Options struct {
	// Version is the balancer's, for holdfast_build_info.
	Version string
	// HandshakeResults are the words HandshakeDone is called with. Any other
	// one is counted as "other", which bounds the label's variety.
	HandshakeResults []string
	// AffinityResults are the words AffinityDone is called with, likewise.
	AffinityResults []string
	// ReattachReasons and ReattachResults are the words SessionMoved is called
	// with, likewise.
	ReattachReasons, ReattachResults []string
	// BackendStates are the words of BackendStat.State, but for those of
	// backends that are gone.
	BackendStates []string
}

// Metrics is a registry of its own with all metrics of one balancer. All
// methods can be called from any goroutine.
type Metrics struct {
	registry *prometheus.Registry

	handshakes        map[string]prometheus.Counter // by result, fixed
	otherHandshakes   prometheus.Counter
	handshakeDuration prometheus.Histogram
	affinity          map[string]prometheus.Counter    // by result, fixed
	reattach          map[[2]string]prometheus.Counter // by reason and result, fixed
	reattachGap       prometheus.Histogram
	notKept           prometheus.Counter
	closes            closes

	httpRequests [6]prometheus.Counter // by the first digit of the status code
	httpDuration prometheus.Histogram

	reloadsOK, reloadsFailed prometheus.Counter
	lastReload               prometheus.Gauge
}

// durationBuckets go from a handshake on one machine to the longest timeout,
// in seconds.
var durationBuckets = []float64{
	.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30,
}

// New makes the metrics; src is asked at every scrape, from any goroutine.
func New(src Source, o Options) *Metrics {
	m := &Metrics{
		registry:   prometheus.NewRegistry(),
		handshakes: make(map[string]prometheus.Counter),
		affinity:   make(map[string]prometheus.Counter),
		handshakeDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_handshake_duration_seconds",
			Help:    "Time from a WebSocket handshake's first byte to its answer.",
			Buckets: durationBuckets,
		}),
		reattachGap: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_reattach_gap_seconds",
			Help:    "Time for which the client of a session that was given another backend was not read.",
			Buckets: durationBuckets,
		}),
		notKept: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_reattach_not_kept_total",
			Help: "Sessions that can't be given another backend, since their handshake is too large to be kept.",
		}),
		httpDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_http_request_duration_seconds",
			Help:    "Time from a plain HTTP request to the end of its answer; WebSockets are not in it.",
			Buckets: durationBuckets,
		}),
		lastReload: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "holdfast_config_last_reload_success_timestamp_seconds",
			Help: "Unix time of the last configuration that was taken.",
		}),
	}
	results := counterVec("holdfast_handshakes_total", "WebSocket handshakes, by how they ended.", "result")
	for _, result := range o.HandshakeResults {
		m.handshakes[result] = results.WithLabelValues(result)
	}
	m.otherHandshakes = results.WithLabelValues("other")

	affinity := counterVec("holdfast_affinity_total", "Choices in pools with affinity, by what became of the client's mark.", "result")
	for _, result := range o.AffinityResults {
		m.affinity[result] = affinity.WithLabelValues(result)
	}

	reattach := counterVec("holdfast_reattach_total", "Attempts to give a session another backend, by why and by how they ended.", "reason", "result")
	m.reattach = make(map[[2]string]prometheus.Counter)
	for _, reason := range o.ReattachReasons {
		for _, result := range o.ReattachResults {
			m.reattach[[2]string{reason, result}] = reattach.WithLabelValues(reason, result)
		}
	}

	requests := counterVec("holdfast_http_requests_total", "Plain HTTP requests answered, by class of status code.", "code")
	for class := 1; class < len(m.httpRequests); class++ {
		m.httpRequests[class] = requests.WithLabelValues(string(rune('0'+class)) + "xx")
	}
	m.httpRequests[0] = requests.WithLabelValues("other")

	reloads := counterVec("holdfast_config_reloads_total", "Attempts to take a changed configuration.", "result")
	m.reloadsOK, m.reloadsFailed = reloads.WithLabelValues("success"), reloads.WithLabelValues("failure")

	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "holdfast_build_info",
		Help:        "Always 1; the labels tell what is running.",
		ConstLabels: prometheus.Labels{"version": o.Version, "goversion": runtime.Version()},
	})
	build.Set(1)

	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		sourceCollector{src, o.BackendStates}, &m.closes, affinity, reattach, m.reattachGap, m.notKept,
		results, m.handshakeDuration, requests, m.httpDuration, reloads, m.lastReload, build,
	)
	return m
}

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// HandshakeDone counts a WebSocket handshake that ended after d.
func (m *Metrics) HandshakeDone(result string, d time.Duration) {
	c, ok := m.handshakes[result]
	if !ok {
		c = m.otherHandshakes
	}
	c.Inc()
	m.handshakeDuration.Observe(d.Seconds())
}

// AffinityDone counts a choice in a pool with affinity.
func (m *Metrics) AffinityDone(result string) {
	if c, ok := m.affinity[result]; ok {
		c.Inc()
	}
}

// SessionMoved counts an attempt to give a session another backend. gap is for
// how long its client was not read.
func (m *Metrics) SessionMoved(reason, result string, moved bool, gap time.Duration) {
	if c, ok := m.reattach[[2]string{reason, result}]; ok {
		c.Inc()
	}
	if moved {
		m.reattachGap.Observe(gap.Seconds())
	}
}

// SessionNotKept counts a session that can't be given another backend.
func (m *Metrics) SessionNotKept() { m.notKept.Inc() }

// SessionClosed counts the end of a session. code is session.Summary's Code.
func (m *Metrics) SessionClosed(cause session.Cause, code uint16) { m.closes.add(cause, code) }

// HTTPDone counts a plain HTTP request that was answered with the status code
// after d. An answer of 101 is not counted: what follows it is no answer.
func (m *Metrics) HTTPDone(code int, d time.Duration) {
	if code == http.StatusSwitchingProtocols {
		return
	}
	class := code / 100
	if class < 1 || class >= len(m.httpRequests) {
		class = 0
	}
	m.httpRequests[class].Inc()
	m.httpDuration.Observe(d.Seconds())
}

// ConfigLoaded counts an attempt to take a changed configuration; when it
// succeeded, now is remembered as the time of it.
func (m *Metrics) ConfigLoaded(ok bool, now time.Time) {
	if !ok {
		m.reloadsFailed.Inc()
		return
	}
	m.reloadsOK.Inc()
	m.ConfigStarted(now)
}

// ConfigStarted remembers the time the first configuration was taken, which
// is no reload.
func (m *Metrics) ConfigStarted(now time.Time) {
	m.lastReload.Set(float64(now.UnixMilli()) / 1000)
}

// Package metrics counts what the balancer does and serves the counts to
// Prometheus. internal/app creates a Metrics, calls its methods on events, and
// provides a Source for the values that others count already.
//
// Each file but series.go and collect.go has one subject: its metrics with their
// help texts, the method that counts an event, and the function that collects
// them. docs/metrics.md lists all metrics.
//
// The methods for events run on event loops. They cost a few atomic operations:
// no lock, no allocation, and no lookup by a set of labels.
package metrics

import (
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options are fixed when the metrics are created. They list the values of labels,
// which bounds the number of series.
type Options struct {
	// Version is the balancer's, for holdfast_build_info.
	Version string
	// HandshakeResults are the results that HandshakeDone is called with. Any
	// other result is counted as "other".
	HandshakeResults []string
	// TLSResults are the results that TLSDone is called with. Any other is counted as
	// "other".
	TLSResults []string
	// BackendTLSResults are those of BackendTLSDone.
	BackendTLSResults []string
	// AffinityResults are the results that AffinityDone is called with. Others
	// aren't counted.
	AffinityResults []string
	// ReattachReasons and ReattachResults are what SessionMoved is called with.
	// Others aren't counted.
	ReattachReasons, ReattachResults []string
	// AuthResults are the results that AuthRequestDone is called with.
	AuthResults []string
	// Opened is the one of HandshakeResults that means a session.
	Opened string
	// CheckResults are the results that Checked is called with. Any other is counted as
	// "other".
	CheckResults []string
	// BackendStates are the values of BackendStat.State, except that of removed
	// backends.
	BackendStates []string
	// Collectors have metrics of a program that the balancer is a part of.
	Collectors []prometheus.Collector
}

// Metrics is a registry with all metrics of one balancer. Its methods are safe
// for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	src      Source
	options  Options
	series   *table
	reloads  *reloads
	admin    *adminRequests
	tls      *tlsHandshakes
	auth     *authentications

	handshakeResults map[string]int                // to the index in series.handshakes
	moveResults      map[[2]string]int             // reason and result, to the index in series.moves
	httpCut          map[string]prometheus.Counter // by cause

	opened int // index in series.handshakes of sessions

	// refreshing guards meters and gone, and in each series traffic and removedAt. It is
	// held while src waits for event loops.
	refreshing sync.Mutex
	meters     map[uint32]*meter  // by backend
	gone       map[string]*Counts // by pool, of backends whose series were deleted
}

// New creates the metrics. src is called at every scrape, from any goroutine.
func New(src Source, o Options) *Metrics {
	m := &Metrics{
		registry:         prometheus.NewRegistry(),
		src:              src,
		options:          o,
		handshakeResults: make(map[string]int),
		moveResults:      make(map[[2]string]int),
		meters:           make(map[uint32]*meter),
		gone:             make(map[string]*Counts),
		opened:           openedIndex(&o),
	}
	for i, result := range o.HandshakeResults {
		m.handshakeResults[result] = i
	}
	m.tls = newTLSHandshakes(tlsHandshakesDesc, o.TLSResults)
	for _, reason := range o.ReattachReasons {
		for _, result := range o.ReattachResults {
			m.moveResults[[2]string{reason, result}] = len(m.moveResults)
		}
	}
	m.series = newTable(func(l Labels) *series {
		s := &series{
			Labels:     l,
			handshakes: handshakes{results: make([]atomic.Uint64, len(o.HandshakeResults)+1)},
			moves:      moves{results: make([]atomic.Uint64, len(m.moveResults))},
			checks:     checks{words: o.CheckResults},
		}
		if l.Backend == "" {
			s.backendTLS = newTLSHandshakes(backendTLSHandshakesDesc, o.BackendTLSResults)
			s.affinity = make([]atomic.Uint64, len(o.AffinityResults))
		}
		return s
	})
	m.series.get(Labels{})

	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "holdfast_build_info",
		Help:        "Always 1; the labels have the version of holdfast and of Go.",
		ConstLabels: prometheus.Labels{"version": o.Version, "goversion": runtime.Version()},
	})
	build.Set(1)

	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collector{m}, build,
	)
	m.registry.MustRegister(o.Collectors...)
	m.httpCut = m.registerHTTPCut()
	m.reloads = m.registerReloads()
	m.admin = m.registerAdmin()
	m.auth = m.registerAuth(o.AuthResults)
	return m
}

// counters registers a counter with one label, whose values are given.
func (m *Metrics) counters(name, help, label string, values ...string) map[string]prometheus.Counter {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	m.registry.MustRegister(vec)
	byValue := make(map[string]prometheus.Counter, len(values))
	for _, value := range values {
		byValue[value] = vec.WithLabelValues(value)
	}
	return byValue
}

// Handler serves scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// authentications counts what is done to find out who clients are. Which of them are
// refused, HandshakeDone and HTTPDone count.
type authentications struct {
	keys     map[string]prometheus.Counter // by result
	requests map[string]prometheus.Counter // likewise
	duration prometheus.Histogram
}

func (m *Metrics) registerAuth(results []string) *authentications {
	a := &authentications{
		keys:     m.counters("holdfast_jwt_key_reads_total", "Attempts to read the keys for tokens from URLs.", "result", "success", "failure"),
		requests: m.counters("holdfast_auth_requests_total", "Questions about clients to the endpoints of auth.request.", "result", results...),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "holdfast_auth_request_duration_seconds",
			Help: "Time to the answers of the endpoints of auth.request.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}),
	}
	m.registry.MustRegister(a.duration)
	return a
}

// KeysRead counts an attempt to read keys for tokens from a URL.
func (m *Metrics) KeysRead(ok bool) {
	result := "failure"
	if ok {
		result = "success"
	}
	m.auth.keys[result].Inc()
}

// AuthRequestDone counts a question about a client, with one of Options.AuthResults. Any
// other isn't counted. d is 0 for an answer that was kept.
func (m *Metrics) AuthRequestDone(result string, d time.Duration) {
	if c := m.auth.requests[result]; c != nil {
		c.Inc()
	}
	if d > 0 {
		m.auth.duration.Observe(d.Seconds())
	}
}

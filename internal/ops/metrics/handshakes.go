package metrics

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	handshakesDesc = newSeriesDesc("holdfast_handshakes_total",
		"WebSocket handshakes, by result and by the last backend that was chosen.", "result")
	handshakeDesc = newSeriesDesc("holdfast_handshake_duration_seconds",
		"Time from the first byte of a WebSocket handshake to its response, including time in the queue.")
	affinityDesc = newDesc("holdfast_affinity_total",
		"Choices of a backend in pools with affinity, by what happened to the client's cookie, token or key.", "pool", "result")
)

type handshakes struct {
	results  []atomic.Uint64 // by index in Options.HandshakeResults; the last is for any other
	duration histogram
}

// HandshakeDone counts a WebSocket handshake that ended after d.
func (m *Metrics) HandshakeDone(l Labels, result string, d time.Duration) {
	h := &m.series.get(l).handshakes
	i, ok := m.handshakeResults[result]
	if !ok {
		i = len(h.results) - 1
	}
	h.results[i].Add(1)
	h.duration.observe(d)
}

func (m *Metrics) collectHandshakes(h *handshakes, e emitter) {
	for i := range h.results {
		result := "other"
		if i < len(m.options.HandshakeResults) {
			result = m.options.HandshakeResults[i]
		}
		e.event(handshakesDesc, h.results[i].Load(), result)
	}
	e.histogram(handshakeDesc, &h.duration)
}

// AffinityDone counts a choice in a pool with affinity.
func (m *Metrics) AffinityDone(pool, result string) {
	if i := slices.Index(m.options.AffinityResults, result); i >= 0 {
		m.series.get(Labels{Pool: pool}).affinity[i].Add(1)
	}
}

func (m *Metrics) collectAffinity(s *series, e emitter) {
	for i := range s.affinity {
		if n := s.affinity[i].Load(); n > 0 || e.always {
			e.out <- prometheus.MustNewConstMetric(affinityDesc, prometheus.CounterValue, float64(n), s.Pool, m.options.AffinityResults[i])
		}
	}
}

package metrics

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-ws/holdfast/internal/session"
)

var (
	requestsDesc = newSeriesDesc("holdfast_http_requests_total",
		"Plain HTTP requests that were answered, by class of status code.", "code")
	requestDesc = newSeriesDesc("holdfast_http_request_duration_seconds",
		"Time from a plain HTTP request to the end of its response, without WebSocket handshakes.")
)

// requests counts plain HTTP requests.
type requests struct {
	classes  [6]atomic.Uint64 // by the first digit of the status code; 0 is any other
	duration histogram
}

// HTTPDone counts a plain HTTP request that was answered with the status code
// after d. A 101 isn't counted: what follows isn't a response.
func (m *Metrics) HTTPDone(l Labels, code int, d time.Duration) {
	if code == http.StatusSwitchingProtocols {
		return
	}
	r := &m.series.get(l).requests
	class := code / 100
	if class < 1 || class >= len(r.classes) {
		class = 0
	}
	r.classes[class].Add(1)
	r.duration.observe(d)
}

func (r *requests) collect(e emitter) {
	for class := range r.classes {
		code := "other"
		if class > 0 {
			code = string(rune('0'+class)) + "xx"
		}
		e.event(requestsDesc, r.classes[class].Load(), code)
	}
	e.histogram(requestDesc, &r.duration)
}

func (m *Metrics) registerHTTPCut() map[string]prometheus.Counter {
	return m.counters("holdfast_http_requests_cut_total",
		"Plain HTTP requests that were still running at the end of a drain or a shutdown and were cut.", "cause",
		session.BackendDrained.String(), session.BackendRemoved.String(), session.Shutdown.String())
}

// HTTPCut counts a plain HTTP request that a drain or a shutdown has cut. cause
// is the name of a session.Cause.
func (m *Metrics) HTTPCut(cause string) {
	if c, ok := m.httpCut[cause]; ok {
		c.Inc()
	}
}

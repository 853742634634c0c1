package metrics

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// maxEndpoints is more than the admin interface has: a caller can't make labels.
const maxEndpoints = 64

// adminRequests counts requests to the admin interface.
type adminRequests struct {
	counts *prometheus.CounterVec

	mu    sync.Mutex // guards the following
	known map[string]bool
}

func (m *Metrics) registerAdmin() *adminRequests {
	a := &adminRequests{known: map[string]bool{}, counts: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "holdfast_admin_requests_total",
		Help: "Requests to the admin interface, by endpoint and class of status code.",
	}, []string{"endpoint", "code"})}
	m.registry.MustRegister(a.counts)
	return a
}

// AdminDone counts a request to the admin interface. endpoint is its pattern, such as
// "GET /v1/pools/{pool}", and never what a caller has sent; "" is none.
func (m *Metrics) AdminDone(endpoint string, status int) {
	a := m.admin
	a.mu.Lock()
	if !a.known[endpoint] {
		if endpoint == "" || len(a.known) >= maxEndpoints {
			endpoint = "other"
		}
		a.known[endpoint] = true
	}
	a.mu.Unlock()
	code := "other"
	if status >= 100 && status < 600 {
		code = strconv.Itoa(status/100) + "xx"
	}
	a.counts.WithLabelValues(endpoint, code).Inc()
}

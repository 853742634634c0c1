package app_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// Metrics of the program that runs the balancer are served with its own.
func TestCollectors(t *testing.T) {
	own := prometheus.NewGauge(prometheus.GaugeOpts{Name: "holdfast_program_test", Help: "A gauge."})
	own.Set(7)
	r := startWith(t, "listeners: [{address: \"127.0.0.1:0\"}]\npools: {chat: {backends: [{address: \"127.0.0.1:1\"}]}}\n", app.Options{Collectors: []prometheus.Collector{own}})
	w := httptest.NewRecorder()
	r.MetricsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{"holdfast_program_test 7\n", "holdfast_sessions_active 0\n"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("a scrape has no %s", want)
		}
	}
}

// Loads counts what clients have opened, and what is open.
func TestLoadsOfSessions(t *testing.T) {
	address := backend(t, "a")
	r := start(t, "listeners: [{address: \"127.0.0.1:0\"}]\npools: {chat: {backends: [{name: a, address: \""+address+"\"}]}}\n")
	one, two := r.open("/"), r.open("/")
	one.echo("hello", "a: hello")
	two.CloseNow()
	testkit.Eventually(t, "one session left", func() bool { return r.Loads()[0].Sessions == 1 })
	l := r.Loads()[0]
	if l.Pool != "chat" || l.Opened != 2 || l.Messages != 2 || len(l.Backends) != 1 || l.Backends[0].Name != "a" || l.Backends[0].Sessions != 1 || l.Backends[0].State != "up" {
		t.Errorf("%+v", l)
	}
}

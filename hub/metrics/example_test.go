package metrics_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/hub/metrics"
)

func Example() {
	ctx := context.Background()
	rooms := hub.Memory(hub.Options{}) // or hub.Redis
	defer rooms.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(rooms))
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{}) // serve it at /metrics

	ann, err := rooms.Join(ctx, "lobby", hub.Member{ID: "ann"}, hub.JoinOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer ann.Leave()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "hub_memberships") {
			fmt.Print(line)
		}
	}
	// Output:
	// hub_memberships 1
}

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reloads counts reloads of the configuration.
type reloads struct {
	ok, failed  prometheus.Counter
	lastSuccess prometheus.Gauge
	lastOK      prometheus.Gauge
}

func (m *Metrics) registerReloads() *reloads {
	byResult := m.counters("holdfast_config_reloads_total", "Attempts to reload the configuration.", "result", "success", "failure")
	last := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "holdfast_config_last_reload_success_timestamp_seconds",
		Help: "Unix time at which a configuration was last loaded.",
	})
	lastOK := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "holdfast_config_last_reload_successful",
		Help: "1 if the last attempt to load the configuration succeeded, 0 if what was loaded before is still in use.",
	})
	m.registry.MustRegister(last, lastOK)
	return &reloads{ok: byResult["success"], failed: byResult["failure"], lastSuccess: last, lastOK: lastOK}
}

// ConfigLoaded counts an attempt to reload the configuration at the time now.
func (m *Metrics) ConfigLoaded(ok bool, now time.Time) {
	if !ok {
		m.reloads.failed.Inc()
		m.reloads.lastOK.Set(0)
		return
	}
	m.reloads.ok.Inc()
	m.ConfigStarted(now)
}

// ConfigStarted sets the time at which the first configuration was loaded. It
// doesn't count as a reload.
func (m *Metrics) ConfigStarted(now time.Time) {
	m.reloads.lastSuccess.Set(float64(now.UnixMilli()) / 1000)
	m.reloads.lastOK.Set(1)
}

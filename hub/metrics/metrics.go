// Package metrics exports the [hub.Stats] of a hub to Prometheus. It is a package
// of its own so that package hub doesn't depend on client_golang.
//
//	rooms, err := hub.Redis(hub.RedisOptions{URL: "redis://10.0.0.5:6379"})
//	if err != nil {
//		return err
//	}
//	prometheus.MustRegister(metrics.NewCollector(rooms))
//
// These are the metrics, all without labels:
//
//	hub_rooms                         gauge    rooms with members on this server
//	hub_memberships                   gauge    memberships on this server
//	hub_sessions                      gauge    sessions on this server
//	hub_connected                     gauge    1 if the hub is connected to Redis, else 0
//	hub_events_delivered_total        counter  events returned by Next
//	hub_events_dropped_total          counter  events discarded because a queue was full
//	hub_slow_members_total            counter  memberships ended with ErrSlow
//	hub_gaps_total                    counter  delivered events that were a Gap
//	hub_catch_ups_total               counter  times a room has read what it may have missed
//	hub_reconnects_total              counter  connections to Redis made after there was none
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-ws/holdfast/hub"
)

// metric is one number of hub.Stats.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(hub.Stats) float64
}

func gauge(name, help string, value func(hub.Stats) float64) metric {
	return metric{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, value}
}

func counter(name, help string, value func(hub.Stats) uint64) metric {
	return metric{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue,
		func(s hub.Stats) float64 { return float64(value(s)) }}
}

var all = []metric{
	gauge("hub_rooms", "Rooms that have members on this server.",
		func(s hub.Stats) float64 { return float64(s.Rooms) }),
	gauge("hub_memberships", "Memberships on this server. A member in two rooms counts twice.",
		func(s hub.Stats) float64 { return float64(s.Memberships) }),
	gauge("hub_sessions", "Sessions on this server that aren't closed.",
		func(s hub.Stats) float64 { return float64(s.Sessions) }),
	gauge("hub_connected", "1 if the hub is connected to Redis, otherwise 0. Always 1 without Redis.",
		func(s hub.Stats) float64 {
			if s.Connected {
				return 1
			}
			return 0
		}),
	counter("hub_events_delivered_total", "Events of all kinds returned by Next.",
		func(s hub.Stats) uint64 { return s.Delivered }),
	counter("hub_events_dropped_total", "Events discarded because the queue of a member was full.",
		func(s hub.Stats) uint64 { return s.Dropped }),
	counter("hub_slow_members_total", "Memberships ended because the member was too slow.",
		func(s hub.Stats) uint64 { return s.Slow }),
	counter("hub_gaps_total", "Delivered gaps: places where messages may be missing.",
		func(s hub.Stats) uint64 { return s.Gaps }),
	counter("hub_catch_ups_total", "Times that a room has read from Redis what it may have missed on its channel.",
		func(s hub.Stats) uint64 { return s.CatchUps }),
	counter("hub_reconnects_total", "Connections to Redis made after one was lost or couldn't be made at first.",
		func(s hub.Stats) uint64 { return s.Reconnects }),
}

type collector struct{ hub hub.Hub }

// NewCollector returns a collector of h's metrics. It reads [hub.Hub.Stats] when
// it is scraped: it never blocks, starts no goroutine, and still works after h is
// closed, with the last values of the counters. To export several hubs of a
// process, register each with a label:
//
//	prometheus.WrapRegistererWith(prometheus.Labels{"hub": "chat"}, registry).
//		MustRegister(metrics.NewCollector(chat))
func NewCollector(h hub.Hub) prometheus.Collector { return collector{h} }

func (c collector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range all {
		descs <- m.desc
	}
}

func (c collector) Collect(values chan<- prometheus.Metric) {
	stats := c.hub.Stats()
	for _, m := range all {
		values <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(stats))
	}
}

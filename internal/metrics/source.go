package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// Source tells what others count already; it is asked at every scrape. Totals
// never go down.
type Source interface {
	// Traffic is what both sides have sent in all sessions, live ones too.
	Traffic() (fromClient, fromBackend session.Traffic)
	// Active counts the live sessions, Opened all there ever were.
	Active() int
	Opened() uint64
	// Backends lists the backends that are configured or have sessions left.
	Backends() []BackendStat
	// Discovery lists the pools whose backends are looked for.
	Discovery() []DiscoveryStat
	// Queues lists the pools whose handshakes may have to wait.
	Queues() []QueueStat
	// Rebalances lists the pools that are rebalanced when need be.
	Rebalances() []RebalanceStat
	// LogDropped counts the log lines that were lost.
	LogDropped() uint64
}

// BackendStat is what one backend has.
type BackendStat struct {
	Pool, Name string
	Sessions   int
	// Gone tells that it is no longer configured; then the following are not
	// told.
	Gone    bool
	State   string  // one of Options.BackendStates
	Share   float64 // of its weight, from 0 to 1
	Changes uint64  // of state
	// DrainLeft is how long its sessions may still go on while it is being
	// emptied; Draining says whether it is.
	Draining  bool
	DrainLeft time.Duration
}

// DiscoveryStat is how the search for a pool's backends goes.
type DiscoveryStat struct {
	Pool, Source string
	OK           bool
}

// QueueStat is what waits for one pool's backends.
type QueueStat struct {
	Pool    string
	Waiting int    // now
	Queued  uint64 // that ever had to
}

// RebalanceStat is how far one pool is from being even.
type RebalanceStat struct {
	Pool   string
	Excess int // sessions above their backends' fair shares
}

var (
	activeDesc = prometheus.NewDesc("holdfast_sessions_active",
		"WebSocket sessions that are open.", nil, nil)
	openedDesc = prometheus.NewDesc("holdfast_sessions_total",
		"WebSocket sessions that were opened.", nil, nil)
	messagesDesc = prometheus.NewDesc("holdfast_messages_total",
		"WebSocket messages relayed.", []string{"direction"}, nil)
	bytesDesc = prometheus.NewDesc("holdfast_bytes_total",
		"Bytes of WebSocket frames relayed, frame headers included.", []string{"direction"}, nil)
	backendDesc = prometheus.NewDesc("holdfast_backend_sessions",
		"WebSocket sessions that are open on a backend.", []string{"pool", "backend"}, nil)
	stateDesc = prometheus.NewDesc("holdfast_backend_state",
		"1 for the state a backend is in, 0 for the others.", []string{"pool", "backend", "state"}, nil)
	shareDesc = prometheus.NewDesc("holdfast_backend_share",
		"How much of its weight a backend has now: less while it starts slowly, or reports load.", []string{"pool", "backend"}, nil)
	changesDesc = prometheus.NewDesc("holdfast_backend_state_changes_total",
		"Changes of a backend's state.", []string{"pool", "backend"}, nil)
	drainDesc = prometheus.NewDesc("holdfast_backend_drain_seconds_left",
		"Until the last session of a backend that is being emptied will have been closed.", []string{"pool", "backend"}, nil)
	discoveryDesc = prometheus.NewDesc("holdfast_discovery_up",
		"1 where the last look for a pool's backends, in DNS or a file, succeeded.", []string{"pool", "source"}, nil)
	queueDesc = prometheus.NewDesc("holdfast_admission_queue",
		"Handshakes that wait until a backend may be given them.", []string{"pool"}, nil)
	queuedDesc = prometheus.NewDesc("holdfast_admission_queued_total",
		"Handshakes that had to wait until a backend could be given them.", []string{"pool"}, nil)
	excessDesc = prometheus.NewDesc("holdfast_rebalance_excess",
		"Sessions above their backends' fair shares.", []string{"pool"}, nil)
	droppedDesc = prometheus.NewDesc("holdfast_log_dropped_total",
		"Log lines lost because the log was not read fast enough.", nil, nil)
)

type sourceCollector struct {
	src    Source
	states []string // of backends
}

func (s sourceCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{activeDesc, openedDesc, messagesDesc, bytesDesc, backendDesc, droppedDesc,
		stateDesc, shareDesc, changesDesc, drainDesc, discoveryDesc, queueDesc, queuedDesc, excessDesc} {
		out <- d
	}
}

func (s sourceCollector) Collect(out chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	tell(activeDesc, prometheus.GaugeValue, float64(s.src.Active()))
	tell(openedDesc, prometheus.CounterValue, float64(s.src.Opened()))
	fromClient, fromBackend := s.src.Traffic()
	tell(messagesDesc, prometheus.CounterValue, float64(fromClient.Messages), "from_client")
	tell(messagesDesc, prometheus.CounterValue, float64(fromBackend.Messages), "from_backend")
	tell(bytesDesc, prometheus.CounterValue, float64(fromClient.Bytes), "from_client")
	tell(bytesDesc, prometheus.CounterValue, float64(fromBackend.Bytes), "from_backend")
	tell(droppedDesc, prometheus.CounterValue, float64(s.src.LogDropped()))

	// One name can be there twice: a backend that was removed and came back
	// while its sessions were still closing. A series may be told only once.
	type key struct{ pool, name string }
	sessions := make(map[key]int)
	told := make(map[key]bool)
	for _, b := range s.src.Backends() {
		// The collector panics on a label that is not UTF-8.
		k := key{strings.ToValidUTF8(b.Pool, "?"), strings.ToValidUTF8(b.Name, "?")}
		sessions[k] += b.Sessions
		if b.Gone || told[k] {
			continue
		}
		told[k] = true
		for _, state := range s.states {
			is := 0.0
			if state == b.State {
				is = 1
			}
			tell(stateDesc, prometheus.GaugeValue, is, k.pool, k.name, state)
		}
		tell(shareDesc, prometheus.GaugeValue, b.Share, k.pool, k.name)
		if b.Draining {
			tell(drainDesc, prometheus.GaugeValue, max(b.DrainLeft.Seconds(), 0), k.pool, k.name)
		}
		tell(changesDesc, prometheus.CounterValue, float64(b.Changes), k.pool, k.name)
	}
	for _, d := range s.src.Discovery() {
		up := 0.0
		if d.OK {
			up = 1
		}
		tell(discoveryDesc, prometheus.GaugeValue, up, strings.ToValidUTF8(d.Pool, "?"), strings.ToValidUTF8(d.Source, "?"))
	}
	for _, q := range s.src.Queues() {
		name := strings.ToValidUTF8(q.Pool, "?")
		tell(queueDesc, prometheus.GaugeValue, float64(q.Waiting), name)
		tell(queuedDesc, prometheus.CounterValue, float64(q.Queued), name)
	}
	for _, r := range s.src.Rebalances() {
		tell(excessDesc, prometheus.GaugeValue, float64(r.Excess), strings.ToValidUTF8(r.Pool, "?"))
	}
	for k, n := range sessions {
		tell(backendDesc, prometheus.GaugeValue, float64(n), k.pool, k.name)
	}
}

package metrics

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// Source provides values that other packages count. It is called at every
// scrape. Totals must not decrease.
type Source interface {
	// Active is the number of live sessions, Opened the number since the start.
	Active() int
	Opened() uint64
	// Backlog is how many bytes are kept that connections haven't taken.
	Backlog() int64
	// Backends lists the backends that are configured or still have sessions.
	Backends() []BackendStat
	// BackendTraffic returns what both sides have sent in the sessions of each
	// backend, by BackendStat.ID. It includes a removed backend once more. It
	// may wait for the event loops.
	BackendTraffic() map[uint32][2]session.Traffic
	// Pools lists the configured pools.
	Pools() []PoolStat
	// Discovery lists the sources of discovery.
	Discovery() []DiscoveryStat
	// Queues lists the pools with a queue for handshakes.
	Queues() []QueueStat
	// Rebalances lists the pools that are rebalanced.
	Rebalances() []RebalanceStat
	// Learned lists the pools whose affinity is learned.
	Learned() []LearnedStat
	// Certificates lists the certificates of listeners.
	Certificates() []CertificateStat
	// LogDropped is the number of log lines that were dropped.
	LogDropped() uint64
	// Traces counts spans, Events those who follow events of the admin interface.
	Traces() TraceStat
	Events() EventStat
	// Changes is how many changes of backends were made at run time.
	Changes() int
	// ShuttingDown reports whether the balancer is being stopped.
	ShuttingDown() bool
	// Limits is what is counted for limits.
	Limits() LimitStat
}

// BackendStat has the values of one backend.
type BackendStat struct {
	ID         uint32 // unique since the start
	Pool, Name string
	Sessions   int
	Requests   int // plain HTTP, running
	// Removed means that the backend is no longer configured. The fields below
	// aren't used then.
	Removed bool
	// MaxSessions is its limit; 0 is none.
	MaxSessions int
	State       string  // one of Options.BackendStates
	Share       float64 // of its weight, from 0 to 1
	Changes     uint64  // of state
	// Draining means that the backend is drained; DrainLeft is the time until
	// its last session is closed.
	Draining  bool
	DrainLeft time.Duration
}

// PoolStat has the values of one pool.
type PoolStat struct {
	Name string
	// Backends is how many it has, Available how many of them take new sessions.
	Backends, Available int
	MaxSessions         int // 0 is no limit
}

// TraceStat has the values of tracing, in spans since the start.
type TraceStat struct {
	Exported uint64
	Dropped  uint64 // the queue was full
	Failed   uint64 // the collector didn't take them
}

// EventStat has the values of the event streams of the admin interface.
type EventStat struct {
	Streams int    // now
	Missed  uint64 // events that a stream was too slow for
}

// DiscoveryStat has the values of one source of a pool's backends.
type DiscoveryStat struct {
	Pool, Source string
	OK           bool
}

// QueueStat has the values of one pool's queue of handshakes.
type QueueStat struct {
	Pool    string
	Waiting int    // now
	Queued  uint64 // since the start
}

// RebalanceStat has the values of one pool's rebalancing.
type RebalanceStat struct {
	Pool   string
	Excess int // sessions above the fair shares of their backends
}

// LearnedStat has the values of one pool's table of keys.
type LearnedStat struct {
	Pool    string
	Keys    int    // now
	Learned uint64 // since the start, as the following
	Expired uint64
	Evicted uint64
}

// LimitStat has the values of limits.
type LimitStat struct {
	Counted int // addresses, claims and listeners with sessions
	Buckets int // addresses whose new sessions or requests are counted
	// Sessions and Handshakes are what counts for limits.max_sessions and
	// limits.max_handshakes now.
	Sessions, MaxSessions     int
	Handshakes, MaxHandshakes int
}

var (
	activeDesc = newDesc("holdfast_sessions_active",
		"Open WebSocket sessions.")
	openedDesc = newDesc("holdfast_sessions_total",
		"WebSocket sessions that were opened since the start.")
	backlogDesc = newDesc("holdfast_backlog_bytes",
		"Bytes that are kept because their receivers have not taken them yet.")
	backendDesc = newDesc("holdfast_backend_sessions",
		"Open WebSocket sessions of a backend.", "pool", "backend")
	backendRequestsDesc = newDesc("holdfast_backend_http_requests",
		"Running plain HTTP requests of a backend.", "pool", "backend")
	backendLimitDesc = newDesc("holdfast_backend_session_limit",
		"Most sessions that a backend may have, if it has a limit.", "pool", "backend")
	poolBackendsDesc = newDesc("holdfast_pool_backends",
		"Backends of a pool, by the configuration and by discovery.", "pool")
	poolAvailableDesc = newDesc("holdfast_pool_backends_available",
		"Backends of a pool that take new sessions.", "pool")
	poolLimitDesc = newDesc("holdfast_pool_session_limit",
		"Most sessions that a pool may have, if it has a limit.", "pool")
	limitUsedDesc = newDesc("holdfast_limit_used",
		"What counts for a limit of the process now.", "limit")
	limitDesc = newDesc("holdfast_limit",
		"A limit of the process.", "limit")
	spansDesc = newDesc("holdfast_trace_spans_total",
		"Spans of traces, by whether the collector has them.", "result")
	streamsDesc = newDesc("holdfast_event_streams",
		"Streams of events of the admin interface that are open.")
	missedDesc = newDesc("holdfast_events_missed_total",
		"Events that a stream has missed because it was too slow.")
	runtimeDesc = newDesc("holdfast_runtime_changes",
		"Changes of backends that were made at run time, and aren't in the configuration.")
	shutdownDesc = newDesc("holdfast_shutting_down",
		"1 while the balancer is being stopped.")
	stateDesc = newDesc("holdfast_backend_state",
		"1 for the current state of a backend, 0 for the others.", "pool", "backend", "state")
	shareDesc = newDesc("holdfast_backend_share",
		"Fraction of its weight that a backend has now: below 1 during a slow start or while it reports load.", "pool", "backend")
	changesDesc = newDesc("holdfast_backend_state_changes_total",
		"Changes of a backend's state.", "pool", "backend")
	drainDesc = newDesc("holdfast_backend_drain_seconds_left",
		"Time until the last session of a draining backend is closed.", "pool", "backend")
	discoveryDesc = newDesc("holdfast_discovery_up",
		"1 if the last query for a pool's backends, in DNS, AWS or a file, succeeded.", "pool", "source")
	queueDesc = newDesc("holdfast_admission_queue",
		"Handshakes that wait in the queue of a pool.", "pool")
	queuedDesc = newDesc("holdfast_admission_queued_total",
		"Handshakes that had to wait in the queue of a pool.", "pool")
	excessDesc = newDesc("holdfast_rebalance_excess",
		"Sessions above the fair shares of their backends.", "pool")
	learnedDesc = newDesc("holdfast_affinity_learned_keys",
		"Keys whose backend is remembered, in a pool with affinity.learn.", "pool")
	learnedTotalDesc = newDesc("holdfast_affinity_learned_keys_total",
		"Keys that were learned.", "pool")
	forgottenDesc = newDesc("holdfast_affinity_forgotten_keys_total",
		"Keys that were forgotten, since they weren't used or to make room.", "pool", "reason")
	countedDesc = newDesc("holdfast_limits_counted",
		"Client addresses, values of claims and listeners whose sessions, requests or connections with plain HTTP are counted for a limit.")
	bucketsDesc = newDesc("holdfast_limits_buckets",
		"Client addresses that are remembered for new_sessions_per_address and new_requests_per_address.")
	droppedDesc = newDesc("holdfast_log_dropped_total",
		"Log lines that were dropped because the log was not read fast enough.")
)

func (m *Metrics) collectSource(e emitter, backends []BackendStat) {
	e.gauge(activeDesc, float64(m.src.Active()))
	e.counter(openedDesc, m.src.Opened())
	e.gauge(backlogDesc, float64(m.src.Backlog()))
	e.counter(droppedDesc, m.src.LogDropped())
	limits := m.src.Limits()
	e.gauge(countedDesc, float64(limits.Counted))
	e.gauge(bucketsDesc, float64(limits.Buckets))
	for _, l := range []struct {
		name     string
		now, max int
	}{{"max_sessions", limits.Sessions, limits.MaxSessions}, {"max_handshakes", limits.Handshakes, limits.MaxHandshakes}} {
		e.gauge(limitUsedDesc, float64(l.now), l.name)
		e.gauge(limitDesc, float64(l.max), l.name)
	}
	traces := m.src.Traces()
	e.counter(spansDesc, traces.Exported, "exported")
	e.counter(spansDesc, traces.Dropped, "dropped")
	e.counter(spansDesc, traces.Failed, "failed")
	events := m.src.Events()
	e.gauge(streamsDesc, float64(events.Streams))
	e.counter(missedDesc, events.Missed)
	e.gauge(runtimeDesc, float64(m.src.Changes()))
	e.gauge(shutdownDesc, boolValue(m.src.ShuttingDown()))
	for _, p := range m.src.Pools() {
		pool := validUTF8(p.Name)
		e.gauge(poolBackendsDesc, float64(p.Backends), pool)
		e.gauge(poolAvailableDesc, float64(p.Available), pool)
		if p.MaxSessions > 0 {
			e.gauge(poolLimitDesc, float64(p.MaxSessions), pool)
		}
	}
	m.collectBackends(e, backends)
	m.tls.collect(e)
	m.collectCertificates(e)
	for _, d := range m.src.Discovery() {
		e.gauge(discoveryDesc, boolValue(d.OK), validUTF8(d.Pool), validUTF8(d.Source))
	}
	for _, q := range m.src.Queues() {
		pool := validUTF8(q.Pool)
		e.gauge(queueDesc, float64(q.Waiting), pool)
		e.counter(queuedDesc, q.Queued, pool)
	}
	for _, r := range m.src.Rebalances() {
		e.gauge(excessDesc, float64(r.Excess), validUTF8(r.Pool))
	}
	for _, l := range m.src.Learned() {
		pool := validUTF8(l.Pool)
		e.gauge(learnedDesc, float64(l.Keys), pool)
		e.counter(learnedTotalDesc, l.Learned, pool)
		e.counter(forgottenDesc, l.Expired, pool, "expired")
		e.counter(forgottenDesc, l.Evicted, pool, "full")
	}
}

// collectBackends emits one set of values for each name. Two backends can have
// the same name: one that was removed, and its successor.
func (m *Metrics) collectBackends(e emitter, backends []BackendStat) {
	sessions, requests := make(map[Labels]int), make(map[Labels]int)
	emitted := make(map[Labels]bool)
	for _, b := range backends {
		l := Labels{b.Pool, b.Name}.valid()
		sessions[l] += b.Sessions
		requests[l] += b.Requests
		if b.Removed || emitted[l] {
			continue
		}
		emitted[l] = true
		for _, state := range m.options.BackendStates {
			e.gauge(stateDesc, boolValue(state == b.State), l.Pool, l.Backend, state)
		}
		e.gauge(shareDesc, b.Share, l.Pool, l.Backend)
		if b.Draining {
			e.gauge(drainDesc, max(b.DrainLeft.Seconds(), 0), l.Pool, l.Backend)
		}
		e.counter(changesDesc, b.Changes, l.Pool, l.Backend)
		if b.MaxSessions > 0 {
			e.gauge(backendLimitDesc, float64(b.MaxSessions), l.Pool, l.Backend)
		}
	}
	for l, n := range sessions {
		e.gauge(backendDesc, float64(n), l.Pool, l.Backend)
		e.gauge(backendRequestsDesc, float64(requests[l]), l.Pool, l.Backend)
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

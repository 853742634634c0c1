// Package api is the model of the admin API: what is under /v1/, as JSON. The server
// (ops/admin), its clients (ops/client, and with it the command line) and the balancer
// (app) share it. It has no behaviour. openapi.yaml of ops/admin describes it, and
// docs/api.md explains it.
package api

import "time"

// Status is the response to GET /v1/status.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Draining is true while the balancer is shutting down.
	Draining bool `json:"draining"`
	// DrainingSince is when the shutdown began; nil before.
	DrainingSince *time.Time `json:"draining_since,omitempty"`
	// Generation counts the configurations loaded since the start, from 1.
	Generation uint64 `json:"generation"`
	// ConfigFile is "" if the balancer runs without a file.
	ConfigFile string `json:"config_file"`
	// Engine is "epoll" or "portable". Loops is the number of event loops, 0
	// for portable. Processors is the number of CPUs the process may use now.
	Engine     string `json:"engine"`
	Loops      int    `json:"loops"`
	Processors int    `json:"processors"`
	// LogLevel is the lowest level that is logged now.
	LogLevel string `json:"log_level"`
	// Changes is the number of changes of backends made at run time, see Change.
	Changes   int        `json:"changes"`
	Listeners []Listener `json:"listeners"`
	// Certificates are those of listeners with TLS.
	Certificates []Certificate `json:"certificates,omitempty"`
	Pools        []Pool        `json:"pools"`
	Totals       Totals        `json:"totals"`
	Rates        Rates         `json:"rates"`
}

// Listener is an address that clients connect to.
type Listener struct {
	Name    string `json:"name"`
	Address string `json:"address"` // as bound, with the port that was chosen for 0
}

// Certificate is a certificate of a listener.
type Certificate struct {
	// Cert is its file, "acme" or "self-signed".
	Cert      string    `json:"cert"`
	Names     []string  `json:"names"`
	Key       string    `json:"key"` // its kind, such as "ECDSA P-256"
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// DaysLeft has one decimal. It is negative for a certificate that has expired.
	DaysLeft float64 `json:"days_left"`
	// Problem is why its files can't be used any more, so that what was read before
	// is in use; "" if they can.
	Problem string `json:"problem,omitempty"`
}

// Pool is a set of backends.
type Pool struct {
	Name     string `json:"name"`
	Balance  string `json:"balance"`
	Sessions int    `json:"sessions"`
	// Requests is the number of plain HTTP requests that are running.
	Requests    int `json:"requests"`
	MaxSessions int `json:"max_sessions,omitempty"`
	// Queued is the number of handshakes that wait in the queue of admit.
	Queued int `json:"queued,omitempty"`
	// LearnedKeys is the number of keys in the table of affinity.learn.
	LearnedKeys int `json:"learned_keys,omitempty"`
	// Rebalance is nil if the pool isn't rebalanced.
	Rebalance *Rebalance `json:"rebalance,omitempty"`
	// Discovery lists the sources of backends other than the configuration.
	Discovery []Discovery `json:"discovery,omitempty"`
	Counts
	Backends []Backend `json:"backends"`
}

// Rebalance is the state of a pool's rebalancing.
type Rebalance struct {
	// Active is true while sessions are being moved or closed, since Since.
	Active bool       `json:"active"`
	Since  *time.Time `json:"since,omitempty"`
	// Excess is the number of sessions above the fair shares of their backends.
	Excess int `json:"excess"`
	// Given is the number of sessions given away since the pool was last even.
	Given int `json:"given"`
}

// Discovery is the state of one source of a pool's backends.
type Discovery struct {
	Source string `json:"source,omitempty"`
	// Since is the time of the last success.
	Since *time.Time `json:"since,omitempty"`
	// LastError is why the last query failed, "" if it succeeded. The last
	// good result stays in use.
	LastError string `json:"trouble,omitempty"`
}

// Backend is one server of a Pool.
type Backend struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	// State is the state that matters most for new sessions: up, warming,
	// draining, down, ejected, unready, unresolved, drain, maint, terminating or
	// removed. It is derived from Operational, Admin, Listed, passive failures and
	// name resolution.
	State       string     `json:"state"`
	Operational string     `json:"operational"`
	Admin       string     `json:"admin"`
	Listed      string     `json:"listed,omitempty"` // unready or terminating, by a program's list
	Reason      string     `json:"reason,omitempty"` // for State
	Since       *time.Time `json:"since,omitempty"`  // when State last changed
	Weight      int        `json:"weight"`
	Share       float64    `json:"share"`    // fraction of Weight in use now, 0 to 1
	Sessions    int        `json:"sessions"` // live
	Requests    int        `json:"requests"` // plain HTTP, running
	MaxSessions int        `json:"max_sessions,omitempty"`
	Backup      bool       `json:"backup,omitempty"` // gets sessions only while no other can
	// Source is where the backend comes from: "file" (the configuration), "runtime" (the
	// API), or a source of discovery, as in Discovery.Source; "" once it has left.
	Source string `json:"source,omitempty"`
	// Changed lists what differs from the configuration, or from discovery, because it was
	// changed at run time: "added", "weight", "max_sessions" or "admin".
	Changed []string `json:"changed,omitempty"`
	// Drain is nil if the backend isn't drained.
	Drain *Drain `json:"drain,omitempty"`
	// LastCheck is the last health check, nil if there was none.
	LastCheck *Check `json:"last_check,omitempty"`
	// Certificate is the one that the backend showed last, nil without TLS.
	Certificate *BackendCertificate `json:"certificate,omitempty"`
	Counts
}

// Check is the result of one health check.
type Check struct {
	At       time.Time `json:"at"`
	OK       bool      `json:"ok"`
	Reason   string    `json:"reason,omitempty"` // of a failure
	Duration float64   `json:"duration_seconds"`
}

// BackendCertificate is the certificate of a backend with TLS.
type BackendCertificate struct {
	Names    []string  `json:"names"`
	NotAfter time.Time `json:"not_after"`
	DaysLeft float64   `json:"days_left"`
}

// Counts of a pool or a backend. All but Rates and Handshake count from the start of the
// balancer.
type Counts struct {
	Opened      uint64            `json:"opened"` // sessions
	Failed      uint64            `json:"failed"` // handshakes that didn't lead to one
	FromClient  Traffic           `json:"from_client"`
	FromBackend Traffic           `json:"from_backend"`
	Closes      map[string]uint64 `json:"closes,omitempty"` // ended sessions, by cause
	Rates       Rates             `json:"rates"`
	// Handshake is nil if there was none in its time.
	Handshake *Latency `json:"handshake,omitempty"`
}

// Rates are averages of the last seconds.
type Rates struct {
	Over     float64 `json:"over_seconds"` // 0 if there is nothing to compare with yet
	Opened   float64 `json:"opened"`       // sessions a second
	Closed   float64 `json:"closed"`
	Messages float64 `json:"messages"` // of both sides
	Bytes    float64 `json:"bytes"`
}

// Latency is the time that handshakes took, in seconds, from their first byte to the
// response, also of those that failed. It is by the buckets of the metric
// holdfast_handshake_duration_seconds, between whose bounds handshakes are taken to be
// spread evenly.
type Latency struct {
	Over  float64 `json:"over_seconds"`
	Count uint64  `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
}

// Drain is the state of a backend's drain. It remains after the backend is
// empty, until it gets new sessions again.
type Drain struct {
	Since time.Time `json:"since"`
	// Deadline is when the last session is closed.
	Deadline time.Time `json:"deadline"`
	// Sessions is how many were live when it began.
	Sessions int `json:"sessions"`
}

// Totals are counted since the start, except Active and Requests.
type Totals struct {
	Active      int     `json:"active"`   // sessions now
	Requests    int     `json:"requests"` // plain HTTP, running
	Opened      uint64  `json:"opened"`
	FromClient  Traffic `json:"from_client"`
	FromBackend Traffic `json:"from_backend"`
}

// Traffic counts what one side has sent.
type Traffic struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"` // including frame headers
}

// Package simulate runs a pool of backends and its clients under virtual time: up
// to millions of sessions, and what happens to them when backends are restarted,
// die or are added. The balancer's own packages decide which backend gets a session,
// who waits, who is closed and when (upstream/pool, upstream/drain,
// upstream/rebalance, stage/balance, stage/ratelimit, retry, proxy/reservation).
// Clients, servers and the network between them are models.
//
//	clients ──▶ handshake ──▶ balancer's packages ──▶ server ──▶ session
//	   ▲                                                             │
//	   └── retry ◀── refused, timeout, closed ◀── drain, death ──────┘
//
// `holdfast simulate` reads a Scenario from a file, calls Run for each combination
// of pool and clients, and prints a Report. It is no benchmark: it measures what the
// decisions lead to, not how fast they are.
package simulate

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/upstream/drain"
)

// Scenario is what should happen. Each of its Pools is tried with each of its
// Clients.
type Scenario struct {
	Name     string
	Seed     uint64 // the same seed gives the same results
	Duration time.Duration

	// Sessions is the number of clients, each of which wants one session all
	// the time. If Arrive is 0 they have it from the start, spread evenly;
	// otherwise they ask for it one after the other during Arrive.
	Sessions int
	Arrive   time.Duration
	// RoundTrip is the mean time between client and balancer; each client's own
	// is between half of it and one and a half of it.
	RoundTrip time.Duration
	// Connect and Handshake are how long the balancer waits for a backend's
	// connection, and for its response.
	Connect, Handshake time.Duration

	Servers Servers
	Events  []Event // in order of time
	Pools   []Pool
	Clients []Clients
}

// Servers describes the servers behind the backends.
type Servers struct {
	Count int
	// Backups is how many of Count are backups: the last ones. Servers that join are none.
	Backups int
	// Capacity is how many handshakes a server can do per second. It does them
	// one after the other; those that come faster wait in a backlog.
	Capacity float64
	Latency  time.Duration // of a handshake that didn't have to wait
	// Backlog is how many handshakes may wait. A connection beyond that isn't
	// answered, as by a kernel whose accept queue is full. It tries again after
	// 1 s and 3 s.
	Backlog int
	// Slowdown is how many times as long a handshake takes with a full backlog,
	// and proportionally less with a shorter one. At least 1.
	Slowdown float64
	// If handshakes wait longer than HangWait in a server's backlog for all of
	// HangFor, it is considered hung, killed and started again. HangFor 0 means
	// never.
	HangWait, HangFor time.Duration
	Restart           time.Duration // how long a start takes
	// A server that has just started is cold: a handshake takes ColdSlowdown times as long, and
	// proportionally less until ColdFor is over. 0 means never.
	ColdFor      time.Duration
	ColdSlowdown float64 // at least 1
}

// Pool is the configuration of a pool.
type Pool struct {
	Name    string
	Balance string // an algorithm of stage/balance, but not hash
	// At most one of these two is not 0.
	MinHealthy, MinHealthyPercent int

	MaxFails    int
	FailTimeout time.Duration
	SlowStart   time.Duration

	Admit *Admit // nil means unlimited
	Drain Drain
	// Reattach says when sessions are moved to another backend. The zero value
	// means never.
	Reattach session.Reattach
	// Rebalance is nil if sessions aren't rebalanced.
	Rebalance *Rebalance
	ScaleIn   string // Emptiest, Newest or Random
}

// Admit and Drain are options of the simulated packages.
type (
	Admit = ratelimit.Options
	Drain = drain.Plan
)

// Rebalance says how sessions are rebalanced: see rebalance.Rules.
type Rebalance struct {
	Above, Rate float64
	MinAge      time.Duration
}

// Clients describes what clients do when a session or handshake has ended.
type Clients struct {
	Name string
	// Delay is how long they wait before they try again. Each failure in a row
	// multiplies it by Factor, up to Most.
	Delay, Most time.Duration
	Factor      float64 // at least 1
	// Jitter is the part of the delay that is random, from 0 to 1: with 1 the
	// delay is anything between nothing and all of it.
	Jitter  float64
	Timeout time.Duration // how long they wait for a session
}

// Event happens to the backends. Exactly one of its fields besides At is set.
type Event struct {
	At      time.Duration
	Restart *Restart
	Kill    *Kill
	Add     int // how many servers are added to the pool
	Scale   *Scale
}

// Restart is a rolling deploy: each backend is drained, stopped when it is empty,
// started, and undrained.
type Restart struct {
	Servers  int           // how many, beginning with the first
	Parallel int           // at a time; at least 1
	Pause    time.Duration // between the return of one and the next
}

// Scale is what an autoscaler does: servers join, or leave, until there are To of them.
type Scale struct {
	To    int           // at least 1
	Every time.Duration // between two servers that join
	Warm  time.Duration // until the checks of a server that joins pass
	Grace time.Duration // until a server that leaves is killed if it has sessions left
}

// Kill makes servers die with all their connections, without notice.
type Kill struct {
	Servers int
	// Back is when they are started again, which takes Servers.Restart.
	// Negative means never.
	Back time.Duration
}

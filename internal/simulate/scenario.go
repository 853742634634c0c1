// Package simulate runs a pool of backends and its clients under a time of its
// own: a million sessions, and what becomes of them when backends are
// restarted, die or are added. Who gets which session, who waits and who is
// closed when is decided by the balancer's own packages (pool, balance, admit,
// drain); clients, servers and the network between them are models.
//
//	clients ──▶ handshake ──▶ admit, balance, pool ──▶ server ──▶ session
//	   ▲                                                             │
//	   └── retry ◀── refused, timeout, closed ◀── drain, death ──────┘
package simulate

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/admit"
	"github.com/holdfast-ws/holdfast/internal/drain"
)

// Scenario is what is to happen. Each of its Pools is tried with each of its
// Clients.
type Scenario struct {
	Name     string
	Seed     uint64 // the same seed gives the same results
	Duration time.Duration

	// Sessions is how many clients there are, each of which wants one session
	// for the whole time. They have it from the beginning, spread evenly, or
	// ask for it one after the other during Arrive.
	Sessions int
	Arrive   time.Duration
	// RoundTrip is the mean between a client and the balancer; each client's
	// own is from half of it to one and a half of it.
	RoundTrip time.Duration
	// Connect and Handshake are how long the balancer waits for a backend's
	// connection, and for its answer.
	Connect, Handshake time.Duration

	Servers Servers
	Events  []Event // in the order of their times
	Pools   []Pool
	Clients []Clients
}

// Servers is what the backends are made of.
type Servers struct {
	Count int
	// Capacity is how many handshakes one can do a second. They are done one
	// after the other; what comes faster waits in a backlog.
	Capacity float64
	Latency  time.Duration // of a handshake that didn't have to wait
	// Backlog is how many may wait. A connection beyond is not answered, as by
	// a kernel whose accept queue is full, and knocks again after 1 s and 3 s.
	Backlog int
	// Slowdown is how many times as long a handshake takes when the backlog is
	// full, in proportion when it is less so. At least 1.
	Slowdown float64
	// One in whose backlog handshakes wait longer than HangWait, for HangFor
	// on end, is taken for hung, killed and started again. HangFor 0 is
	// never.
	HangWait, HangFor time.Duration
	Restart           time.Duration // how long a start takes
}

// Pool is what a pool of the configuration says.
type Pool struct {
	Name    string
	Balance string // one of balance.Kinds, but hash
	// At most one of these two is not 0.
	MinHealthy, MinHealthyPercent int

	MaxFails    int
	FailTimeout time.Duration
	SlowStart   time.Duration

	Admit    *Admit // nil is no bound
	Drain    Drain
	Reattach Reattach
	// Rebalance is nil where nothing is evened out.
	Rebalance *Rebalance
}

// Admit and Drain are options of the packages that are simulated.
type (
	Admit = admit.Options
	Drain = drain.Plan
)

// Reattach says when sessions are given another backend. The zero value is
// never.
type Reattach struct {
	Drain, Loss, Rebalance bool
	Timeout                time.Duration // of one move
}

// Rebalance says how sessions are evened out: see rebalance.Rules.
type Rebalance struct {
	Above, Rate float64
	MinAge      time.Duration
}

// Clients is what clients do whose session or handshake has come to its end.
type Clients struct {
	Name string
	// Delay is how long they wait before they try again. Each failure in a row
	// multiplies it by Factor, up to Most.
	Delay, Most time.Duration
	Factor      float64 // at least 1
	// Jitter is the part of the delay that is left to chance, from 0 to 1: 1
	// is anything from nothing to all of it.
	Jitter  float64
	Timeout time.Duration // how long they wait for a session
}

// Event is something that is done to the backends: one of the following.
type Event struct {
	At      time.Duration
	Restart *Restart
	Kill    *Kill
	Add     int // so many are added to the pool
}

// Restart is a rolling deploy: each backend is drained, and when it is empty,
// stopped, started, and undrained.
type Restart struct {
	Servers  int           // the first so many of them
	Parallel int           // at a time; at least 1
	Pause    time.Duration // between one that is back and the next
}

// Kill has backends die with all their connections, without a word.
type Kill struct {
	Servers int
	// Back is when they are started again, which takes Servers.Restart. Below
	// 0 is never.
	Back time.Duration
}

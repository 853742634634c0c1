// Package pool holds the backends: which there are, at what addresses, and how
// many sessions each has. It is the state that outlives a reload, so that
// counts and sessions go on while the routing above them is swapped.
package pool

import "time"

// Spec is a pool as the configuration has it.
type Spec struct {
	Name     string
	Balance  string // one of balance.Kinds
	Backends []BackendSpec

	MaxSessions int           // of all backends together; 0 is no bound
	SlowStart   time.Duration // how long one that joins or comes back takes to its full weight
	MaxFails    int           // handshakes failed in a row that eject a backend; 0 is never
	FailTimeout time.Duration // within which they must fail, and for which it is ejected
	// Checked says that health checks will tell of its backends: those that
	// join wait for them.
	Checked bool
}

// BackendSpec is one backend of a Spec. Name and Address together are unique
// within a pool; the configuration sees to that.
type BackendSpec struct {
	Name        string // "" means Address
	Address     string // "host:port", see ParseAddress
	Weight      int    // 0 means 1
	MaxSessions int    // 0 is no bound
}

// Pool is one generation's view of a pool. It is immutable; a reload makes a
// new one with the same *Backends in it.
type Pool struct {
	Name    string
	Balance string
	Members []Member
}

// Member is a backend with what may change about it in a reload.
type Member struct {
	Backend *Backend
	Weight  int // at least 1
}

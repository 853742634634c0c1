// Package pool has the backends: which ones there are, their addresses, their
// state, and how many sessions each has. All of that outlives a reload, so
// sessions and counts go on while the routing above them is replaced.
//
// A Registry holds the backends of all pools. Each reload calls Apply and gets
// the new Pools. The spine takes leases through stage/balance and reports how
// handshakes went; upstream/health, upstream/discovery, upstream/drain and the
// admin interface report and read states.
//
// The package doesn't choose among backends (stage/balance), check them
// (upstream/health) or close sessions. It resolves backends' names and ejects
// backends whose handshakes fail (passive health).
package pool

import "time"

// Spec is the configuration of a pool.
type Spec struct {
	Name     string
	Balance  string // an algorithm of stage/balance
	Backends []BackendSpec

	MaxSessions int           // of all backends together; 0 means unlimited
	SlowStart   time.Duration // how long a backend that joins or comes back takes to get its full weight
	MaxFails    int           // failed handshakes in a row that eject a backend; 0 means never
	FailTimeout time.Duration // within which they must fail, and for which it is ejected
	// Checked says that the pool has health checks: backends that join wait
	// for them.
	Checked bool
}

// BackendSpec is the configuration of a backend. Name and Address together must
// be unique within the pool.
type BackendSpec struct {
	Name        string // "" means Address
	Address     string // see hostport.ParseBackend
	Weight      int    // 0 means 1
	MaxSessions int    // 0 means unlimited
	// Host is what the backend is called where TLS is spoken with it; "" means the
	// host of Address.
	Host string
	// HealthPort is the port that checks connect to; 0 means that of the pool's checks.
	HealthPort int
	// Backup means that it gets sessions only while no other can take them.
	Backup bool
	// Listed is the state of the backend as the list that it is from has it, and KillAt
	// when one that is ListedTerminating will be killed; zero if that isn't known.
	Listed Listed
	KillAt time.Time
}

// Pool is a pool as one configuration has it. It is immutable; a reload makes a
// new one with the same *Backends in it.
type Pool struct {
	Name    string
	Balance string
	Members []Member
}

// Member is a backend with what a reload may change about it.
type Member struct {
	Backend *Backend
	Weight  int // at least 1
	// Host is the name or IP address that its certificate has, if it speaks TLS.
	Host       string
	HealthPort int // of BackendSpec
	Backup     bool
}

// Primaries is how many members are no backups. If all are backups, they are used like
// others, so that it is how many members there are.
func Primaries(members []Member) int {
	n := 0
	for i := range members {
		if !members[i].Backup {
			n++
		}
	}
	if n == 0 {
		return len(members)
	}
	return n
}

// Package pool holds the backends: which there are, at what addresses, and how
// many sessions each has. It is the state that outlives a reload, so that
// counts and sessions go on while the routing above them is swapped.
package pool

// Spec is a pool as the configuration has it.
type Spec struct {
	Name     string
	Balance  string // one of balance.Kinds
	Backends []BackendSpec
}

// BackendSpec is one backend of a Spec. Name and Address together are unique
// within a pool; the configuration sees to that.
type BackendSpec struct {
	Name    string // "" means Address
	Address string // "host:port", see ParseAddress
	Weight  int    // 0 means 1
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

// Package balance chooses which backend of a pool gets the next session.
package balance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/pool"
)

// Picker chooses among the members of one pool. It may be used from several
// goroutines at once.
type Picker interface {
	// Take chooses the best member that is up and not in tried, and
	// acquires its lease in the same step, so that two callers at the same
	// moment don't both see the same backend as the least loaded. False
	// when no member is left. It doesn't allocate.
	//
	// The caller owns the lease: Backend.Release, or a session that does so
	// when it ends.
	Take(tried Tried) (Choice, bool)
}

// Choice is a backend that was taken.
type Choice struct {
	Backend *pool.Backend
	Index   int // among the members; for Tried
	Addr    netip.AddrPort
}

// Kinds lists the words New knows; the first is the default.
func Kinds() []string { return []string{"least_conn", "round_robin"} }

// New makes a Picker of that kind over members; "" means the default.
func New(kind string, members []pool.Member) (Picker, error) {
	for _, m := range members {
		if m.Weight < 1 {
			return nil, fmt.Errorf("balance: backend %s has weight %d, want 1 or more", m.Backend.Name, m.Weight)
		}
	}
	members = slices.Clone(members)
	switch kind {
	case "", "least_conn":
		return newLeastConn(members), nil
	case "round_robin":
		return newRoundRobin(members), nil
	}
	return nil, fmt.Errorf("unknown balance %q, want one of %s", kind, strings.Join(Kinds(), ", "))
}

// Package balance chooses which backend of a pool gets the next session.
package balance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/pool"
)

// Why there is no Choice.
var (
	// ErrNone: nobody is left that may be asked.
	ErrNone = errors.New("no backend of the pool is up")
	// ErrFull: there are some, and each has as many sessions as it may.
	ErrFull = errors.New("every backend of the pool that is up has its max_sessions")
	// ErrHeld: some have room, and the Query's Rates hold them all back.
	ErrHeld = errors.New("every backend of the pool that has room gets as many handshakes as it may")
	// ErrEven: there is no other that has fewer sessions than its fair share.
	ErrEven = errors.New("no other backend of the pool has fewer sessions than its fair share")
)

// Picker chooses among the members of one pool. It may be used from several
// goroutines at once.
type Picker interface {
	// Take chooses the best member for q and acquires its lease in the same
	// step, so that two callers at the same moment don't both see the same
	// backend as the least loaded. The error is ErrNone, ErrFull or ErrHeld.
	// It doesn't allocate.
	//
	// The caller owns the lease: Backend.Release, or a session that does so
	// when it ends.
	Take(q *Query) (Choice, error)

	// TakeMember takes the i-th member for a client that belongs to it, or
	// reports false: it is not one that Take would consider, or is full.
	// The lease is as Take's.
	TakeMember(i int) (Choice, bool)

	// TakeBelow takes one of the fit members that have fewer sessions than
	// their fair share: the one that the key, or else the least load, speaks
	// for. The error is ErrEven where there is none to be had. The lease is
	// as Take's.
	TakeBelow(q *Query) (Choice, error)

	// Expect has the next n choices of Take that are for sessions and go by
	// no key made as by TakeBelow, as long as that finds any: so many clients
	// are expected that were told to come back, so as to come elsewhere.
	Expect(n int)

	// Home is the member that a key belongs to by the configured weights
	// alone, whatever its state: the one that a hash without a bound takes
	// as long as it is fit. -1 when there are no members.
	Home(key uint64) int

	// Members are those it was made of, in their order. Not to be changed.
	Members() []pool.Member
}

// Query is what a choice goes by.
type Query struct {
	Tried Tried  // not to be taken again
	Key   uint64 // what hash goes by, where Keyed
	Keyed bool
	// Session: it is for a session, not for a plain HTTP request that takes a
	// moment.
	Session bool
	// Own is the backend that who asks has a lease on, whose connection is
	// lost: it is never full for it. nil is none.
	Own   *pool.Backend
	Rates Rates // nil is no bound
}

// Rates bound how fast each member is chosen. It is called under the picker's
// lock: it must be quick and not call the picker.
type Rates interface {
	// Ready tells whether TryPass would be true for the i-th member now.
	Ready(i int) bool
	// TryPass counts a choice of the i-th member, or reports that it may not
	// be chosen now.
	TryPass(i int) bool
}

// Choice is a backend that was taken.
type Choice struct {
	Backend *pool.Backend
	Index   int // among the members; for Tried and TakeMember
	Addr    netip.AddrPort
}

// Options say how to choose.
type Options struct {
	Kind string // one of Kinds; "" is the first
	// Bound is for hash: no member is taken that would have more than this
	// many times its fair part of the sessions. At least 1; 0 is no bound.
	Bound float64
	// MinHealthy is how many members must be fit for health to be believed;
	// see admit. 0 is to believe it always.
	MinHealthy int
	// KeepDraining has TakeMember take a member that drains, for a client
	// that belongs to it.
	KeepDraining bool
	// Rand is what chance goes by, for who wants to have the same again: the
	// Picker's alone. nil means the process's.
	Rand *rand.Rand
}

// Kinds lists the words New knows; the first is the default.
func Kinds() []string { return []string{"least_conn", "round_robin", "p2c", "random", "hash"} }

// New makes a Picker over members.
func New(o Options, members []pool.Member) (Picker, error) {
	for _, m := range members {
		if m.Weight < 1 {
			return nil, fmt.Errorf("balance: backend %s has weight %d, want 1 or more", m.Backend.Name, m.Weight)
		}
	}
	p := newPicker(o.MinHealthy, members)
	p.keepDraining, p.chance = o.KeepDraining, chance{o.Rand}
	switch o.Kind {
	case "", "least_conn":
		p.rule = newLeastConn(p.chance, len(members))
	case "round_robin":
		p.rule = newRoundRobin(p.chance, len(members))
	case "p2c":
		p.rule = p2c{}
	case "random":
		p.rule = random{}
	case "hash":
		if o.Bound != 0 && !(o.Bound >= 1) {
			return nil, fmt.Errorf("balance: the bound of hash is %v, want 1 or more, or 0 for none", o.Bound)
		}
		p.rule = newHash(p.chance, o.Bound, len(members))
	default:
		return nil, fmt.Errorf("unknown balance %q, want one of %s", o.Kind, strings.Join(Kinds(), ", "))
	}
	return p, nil
}

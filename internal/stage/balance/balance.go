// Package balance chooses which backend of a pool gets the next session or
// request.
//
// The spine makes a Picker for each pool and configuration, and calls Take for
// each handshake. Take returns a backend together with its lease, so a choice
// counts as load at once. A Picker passes over backends that are unhealthy,
// full or rate limited; an algorithm (see Algorithms) chooses among the rest.
//
// The package doesn't check health, connect, or retry: it reads what
// upstream/pool knows, and the caller lists in Query.Tried what has failed.
package balance

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Errors of Picker.
var (
	// ErrNoBackend: no backend is left that may be tried.
	ErrNoBackend = failure.New(failure.NoBackend, "no backend of the pool is up")
	// ErrFull: there are backends, and all have as many sessions as they may.
	ErrFull = failure.New(failure.PoolFull, "every backend of the pool that is up has its max_sessions")
	// ErrRateLimited: some backends have room, but Query.RateLimits allows none.
	ErrRateLimited = errors.New("every backend of the pool that has room gets as many handshakes as it may")
	// ErrBalanced: no other backend has fewer sessions than its fair share.
	ErrBalanced = failure.New(failure.NotNeeded, "no other backend of the pool has fewer sessions than its fair share")
)

// Picker chooses among the members of one pool. It is safe for concurrent use.
type Picker interface {
	// Take chooses the best member for q and acquires its lease in the same
	// step, so that two callers at the same moment don't both see the same
	// backend as the least loaded. The error is ErrNoBackend, ErrFull or
	// ErrRateLimited. It doesn't allocate.
	//
	// The caller owns the lease and must give it back: by Backend.Release, or
	// by opening a session that does so when it ends.
	Take(q *Query) (Choice, error)

	// TakeMember takes the i-th member, for a client that affinity binds to
	// it. It reports false if that member is unavailable or full. The caller owns
	// the lease, as with Take.
	TakeMember(i int) (Choice, bool)

	// TakeBelowFairShare takes an available member that has fewer sessions than its
	// fair share: by the key if there is one, otherwise the least loaded. The
	// error is ErrBalanced if there is none, or ErrRateLimited. The caller
	// owns the lease, as with Take.
	TakeBelowFairShare(q *Query) (Choice, error)

	// SteerNext makes the next n calls of Take behave like TakeBelowFairShare,
	// as long as that finds a member. Only calls for sessions without a key
	// count. It is called when n clients were told to reconnect, so that they
	// reach other backends than before.
	SteerNext(n int)

	// Owner is the member that a key belongs to by the configured weights
	// alone, whatever its state: the one that hash without a bound takes while
	// that is available. It is -1 if there are no members.
	Owner(key uint64) int

	// Members returns the members that the Picker was made of, in their order.
	// The caller must not change them.
	Members() []pool.Member
}

// Query describes what a backend is needed for.
type Query struct {
	Tried Tried  // members not to take again
	Key   uint64 // what hash goes by, if Keyed
	Keyed bool
	// Session: it is for a session, not for a short plain HTTP request.
	Session bool
	// Lost is the backend to which the session has just lost its connection.
	// It still holds a lease there, so that backend is never full for it. nil
	// means none.
	Lost       *pool.Backend
	RateLimits RateLimits // nil means unlimited
}

// RateLimits bounds how fast each member is chosen. Its methods are called
// under the Picker's lock: they must be quick and must not call the Picker.
type RateLimits interface {
	// CanTake reports whether TryTake would succeed for the i-th member now.
	CanTake(i int) bool
	// TryTake takes a token of the i-th member. It reports false if there is
	// none.
	TryTake(i int) bool
}

// MinHealthy returns how many of n members must be available, given as a number or,
// if percent isn't 0, as a share of n, rounded up.
func MinHealthy(count, percent, n int) int {
	if percent > 0 {
		return (percent*n + 99) / 100
	}
	return count
}

// Choice is a backend that was taken, with its lease.
type Choice struct {
	Backend *pool.Backend
	Index   int // in Members; for Tried and TakeMember
	Addr    hostport.Endpoint
}

// Options says how to choose.
type Options struct {
	Algorithm string // one of Algorithms; "" means the first
	// Bound is for hash: it takes no member that would have more than Bound
	// times its fair part of the sessions. At least 1; 0 means no bound.
	Bound float64
	// MinHealthy is how many members must be available. If there are fewer, health
	// is ignored, since it is likelier that the checks are wrong. 0 means that
	// it never is.
	MinHealthy int
	// KeepDraining lets TakeMember take a draining member, for the clients that
	// affinity binds to it.
	KeepDraining bool
	// Rand makes choices reproducible. The Picker owns it. nil means the
	// global generator.
	Rand *rand.Rand
}

// algorithms lists what Options.Algorithm may be; the first is the default.
// To add one, implement algorithm in a file of its own and enter it here.
var algorithms = []struct {
	name string
	new  func(o Options, members int, r randomSource) (algorithm, error)
}{
	{"least_conn", func(_ Options, members int, r randomSource) (algorithm, error) { return newLeastConn(r, members), nil }},
	{"round_robin", func(_ Options, members int, r randomSource) (algorithm, error) { return newRoundRobin(r, members), nil }},
	{"p2c", func(Options, int, randomSource) (algorithm, error) { return p2c{}, nil }},
	{"random", func(Options, int, randomSource) (algorithm, error) { return random{}, nil }},
	{"hash", func(o Options, members int, r randomSource) (algorithm, error) { return newHash(r, o.Bound, members) }},
	{"first", func(Options, int, randomSource) (algorithm, error) { return first{}, nil }},
}

// Algorithms lists the names that New accepts; the first is the default.
func Algorithms() []string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = a.name
	}
	return names
}

// New makes a Picker over members. It retains nothing of the slice.
func New(o Options, members []pool.Member) (Picker, error) {
	for _, m := range members {
		if m.Weight < 1 {
			return nil, fmt.Errorf("balance: backend %s has weight %d, want 1 or more", m.Backend.Name, m.Weight)
		}
	}
	p := newPicker(o, members)
	for _, a := range algorithms {
		if a.name == cmp.Or(o.Algorithm, algorithms[0].name) {
			var err error
			if p.algorithm, err = a.new(o, len(members), p.random); err != nil {
				return nil, err
			}
			return p, nil
		}
	}
	return nil, fmt.Errorf("unknown balance %q, want one of %s", o.Algorithm, strings.Join(Algorithms(), ", "))
}

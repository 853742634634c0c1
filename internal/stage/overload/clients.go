package overload

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
)

// minPerAddress is the lower bound of a derived limit for one address: a page
// opens several sockets, and a household shares an address.
const minPerAddress = 64

// perAddress derives from MaxHandshakes, n, how many one address may have.
func perAddress(n int) int { return min(max(n/4, minPerAddress), n) }

// clientCounts counts handshakes under way by client address. It has an entry
// only for addresses with handshakes, so its size is bounded by MaxHandshakes.
type clientCounts struct {
	limit  atomic.Int64
	seed   maphash.Seed
	shards [32]struct {
		mu     sync.Mutex // guards the following
		counts map[netip.Addr]int
	}
}

// add counts one more handshake of a, which is from clientprefix.Of. It reports
// false if a has reached the limit; with always, it counts it anyway.
func (t *clientCounts) add(a netip.Addr, always bool) bool {
	s := &t.shards[maphash.Comparable(t.seed, a)%uint64(len(t.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.counts[a]
	if !always && int64(n) >= t.limit.Load() {
		return false
	}
	if s.counts == nil {
		s.counts = map[netip.Addr]int{}
	}
	s.counts[a] = n + 1
	return true
}

func (t *clientCounts) remove(a netip.Addr) {
	s := &t.shards[maphash.Comparable(t.seed, a)%uint64(len(t.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.counts[a]; n > 1 {
		s.counts[a] = n - 1
	} else {
		delete(s.counts, a)
	}
}

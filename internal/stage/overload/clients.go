package overload

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync/atomic"

	"github.com/holdfast-ws/holdfast/internal/tally"
	"github.com/holdfast-ws/holdfast/internal/wire/clientprefix"
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
	counts tally.Counts
}

// key returns what the handshakes of an address are counted under. It is never 0.
func (t *clientCounts) key(a netip.Addr) uint64 {
	return max(1, maphash.Comparable(t.seed, clientprefix.Number(a)))
}

// add counts one more handshake of a key. It reports false if that has reached the
// limit; with always, it counts it anyway.
func (t *clientCounts) add(key uint64, always bool) bool {
	most := int(t.limit.Load())
	if always {
		most = math.MaxInt
	}
	return t.counts.Add(key, most)
}

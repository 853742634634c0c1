package pool

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// avoidFor is how long an address that could not be dialled is avoided while the
// same name has others.
const avoidFor = 30 * time.Second

// Backend is one server of a pool. Its identity is (pool, name, address): while
// these stay in the configuration, the pointer, the ID and the number of
// sessions stay the same. All methods are safe for concurrent use and don't
// block.
type Backend struct {
	ID      uint32 // never 0
	Pool    string
	Name    string
	Address string // as configured

	registry  *Registry
	shared    *poolState         // with the other backends of its pool
	stop      context.CancelFunc // ends its resolver; nil if it has none
	leases    atomic.Int64
	requests  atomic.Int64 // leases that are for plain HTTP requests
	max       atomic.Int64 // limit of leases; 0 means unlimited
	removed   atomic.Bool
	addresses atomic.Pointer[addressSet] // nil: no address known yet
	lastError atomic.Pointer[resolveError]

	status
}

// addressSet is the result of the last lookup of a name.
type addressSet struct {
	endpoints []endpoint // never empty
	next      atomic.Uint32
}

type endpoint struct {
	addr       hostport.Endpoint
	avoidUntil atomic.Int64 // Unix nanoseconds; 0 means not avoided
}

// resolveError says why a name doesn't resolve, and since when.
type resolveError struct {
	reason string
	since  time.Time
}

// Removed reports whether the backend has left the configuration. A handshake
// that chose it before checks again when it opens its session.
func (b *Backend) Removed() bool { return b.removed.Load() }

// Addr returns the backend's next address in rotation, or false if its name has
// never been resolved. Addresses that DialFailed has reported are used only if
// there is no other.
func (b *Backend) Addr() (hostport.Endpoint, bool) {
	a := b.addresses.Load()
	if a == nil {
		return hostport.Endpoint{}, false
	}
	if len(a.endpoints) == 1 {
		return a.endpoints[0].addr, true
	}
	first := int(a.next.Add(1) % uint32(len(a.endpoints)))
	for i := range a.endpoints {
		t := &a.endpoints[(first+i)%len(a.endpoints)]
		if !b.avoids(t) {
			return t.addr, true
		}
	}
	return a.endpoints[first].addr, true
}

func (b *Backend) avoids(t *endpoint) bool {
	until := t.avoidUntil.Load()
	return until != 0 && b.isBefore(until)
}

// DialFailed reports that addr, which came from Addr, refused or didn't answer:
// Addr avoids it for 30 s. The result says whether the backend has another
// address worth trying at once, as "localhost" has if the server listens on
// 127.0.0.1 and not on ::1.
func (b *Backend) DialFailed(addr hostport.Endpoint) (another bool) {
	a := b.addresses.Load()
	if a == nil || len(a.endpoints) == 1 {
		return false
	}
	for i := range a.endpoints {
		t := &a.endpoints[i]
		if t.addr == addr {
			t.avoidUntil.Store(b.registry.clock.Now().Add(avoidFor).UnixNano())
		} else if !b.avoids(t) {
			another = true
		}
	}
	return another
}

func newAddressSet(addrs []hostport.Endpoint) *addressSet {
	a := &addressSet{endpoints: make([]endpoint, len(addrs))}
	for i, addr := range addrs {
		a.endpoints[i].addr = addr
	}
	return a
}

func (a *addressSet) addrs() []hostport.Endpoint {
	if a == nil {
		return nil
	}
	addrs := make([]hostport.Endpoint, len(a.endpoints))
	for i := range a.endpoints {
		addrs[i] = a.endpoints[i].addr
	}
	return addrs
}

package pool

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"
)

// shunFor is how long an address that could not be dialled is passed over
// while the same name has others.
const shunFor = 30 * time.Second

// Backend is one server of a pool. Its identity is (pool, name, address): as
// long as these stand in the configuration the pointer, the ID and the count
// of sessions stay. All methods may be called from anywhere; none blocks.
type Backend struct {
	ID      uint32 // never 0
	Pool    string
	Name    string
	Address string // as configured

	registry *Registry
	group    *group             // of its pool
	stop     context.CancelFunc // ends its resolver; nil when it has none
	leases   atomic.Int64
	max      atomic.Int64 // leases at most; 0 is no bound
	removed  atomic.Bool
	answer   atomic.Pointer[answer] // nil: no address known yet
	trouble  atomic.Pointer[trouble]

	condition
}

// answer is what a name resolved to last.
type answer struct {
	targets []target // never empty
	turn    atomic.Uint32
}

type target struct {
	addr      netip.AddrPort
	shunUntil atomic.Int64 // Unix nanoseconds; 0 when it is fine
}

// trouble says why a name doesn't resolve, and since when.
type trouble struct {
	reason string
	since  time.Time
}

// Removed tells that the backend has left the configuration. A handshake that
// began before looks here once more when it opens its session.
func (b *Backend) Removed() bool { return b.removed.Load() }

// Addr is the next of the backend's addresses in rotation, or false as long as
// its name has never resolved. Addresses that DialFailed was told of come only
// when there is no other.
func (b *Backend) Addr() (netip.AddrPort, bool) {
	a := b.answer.Load()
	if a == nil {
		return netip.AddrPort{}, false
	}
	if len(a.targets) == 1 {
		return a.targets[0].addr, true
	}
	first := int(a.turn.Add(1) % uint32(len(a.targets)))
	for i := range a.targets {
		t := &a.targets[(first+i)%len(a.targets)]
		if !b.shuns(t) {
			return t.addr, true
		}
	}
	return a.targets[first].addr, true
}

func (b *Backend) shuns(t *target) bool {
	until := t.shunUntil.Load()
	return until != 0 && b.registry.clock.Now().UnixNano() < until
}

// DialFailed notes that addr, got from Addr, refused or didn't answer: Addr
// passes over it for 30 s. It reports whether the backend has another address
// that is worth a try at once, as "localhost" has when the server listens on
// 127.0.0.1 and not on ::1.
func (b *Backend) DialFailed(addr netip.AddrPort) (another bool) {
	a := b.answer.Load()
	if a == nil || len(a.targets) == 1 {
		return false
	}
	for i := range a.targets {
		t := &a.targets[i]
		if t.addr == addr {
			t.shunUntil.Store(b.registry.clock.Now().Add(shunFor).UnixNano())
		} else if !b.shuns(t) {
			another = true
		}
	}
	return another
}

func newAnswer(addrs []netip.AddrPort) *answer {
	a := &answer{targets: make([]target, len(addrs))}
	for i, addr := range addrs {
		a.targets[i].addr = addr
	}
	return a
}

func (a *answer) addrs() []netip.AddrPort {
	if a == nil {
		return nil
	}
	addrs := make([]netip.AddrPort, len(a.targets))
	for i := range a.targets {
		addrs[i] = a.targets[i].addr
	}
	return addrs
}

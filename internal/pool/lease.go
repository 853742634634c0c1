package pool

import (
	"math"
	"sync/atomic"
)

// group is what the backends of one pool share across reloads.
type group struct {
	leases atomic.Int64
	max    atomic.Int64 // leases at most; 0 is no bound
}

// TryAcquire takes a lease: one session, counted from before its dial so that a
// burst of handshakes doesn't herd onto one backend. It reports false where
// the backend or its pool has as many as it may have; at no moment are there
// more, but by AcquireAgain. Every lease is given back with one Release.
func (b *Backend) TryAcquire() bool {
	if !take(&b.leases, &b.max) {
		return false
	}
	if !take(&b.group.leases, &b.group.max) {
		b.leases.Add(-1)
		b.forgetIfUnused()
		return false
	}
	b.settleIfRemoved()
	return true
}

// AcquireAgain is TryAcquire for a session that has a lease on the backend
// already, has lost its connection there, and makes another. It takes no further
// room, since the first lease is given back then.
func (b *Backend) AcquireAgain() {
	b.leases.Add(1)
	b.group.leases.Add(1)
	b.settleIfRemoved()
}

func (b *Backend) settleIfRemoved() {
	// The order, count first, pairs with Apply's, which marks first and
	// counts then: one of the two sees the other.
	if b.removed.Load() {
		b.registry.settle(b)
	}
}

// take adds one to n unless that passed max.
func take(n, max *atomic.Int64) bool {
	for {
		now, most := n.Load(), max.Load()
		if most > 0 && now >= most {
			return false
		}
		if n.CompareAndSwap(now, now+1) {
			return true
		}
	}
}

// Release gives a lease back.
func (b *Backend) Release() {
	if b.leases.Add(-1) < 0 {
		panic("pool: Release without TryAcquire")
	}
	b.group.leases.Add(-1)
	b.forgetIfUnused()
}

func (b *Backend) forgetIfUnused() {
	if b.removed.Load() && b.leases.Load() == 0 {
		b.registry.settle(b)
	}
}

// Sessions is how many leases are out now.
func (b *Backend) Sessions() int { return int(b.leases.Load()) }

// Full tells whether TryAcquire would fail now.
func (b *Backend) Full() bool {
	return reached(&b.leases, &b.max) || reached(&b.group.leases, &b.group.max)
}

// Most is how many sessions the backend may have, with what is left of its
// pool's bound; math.MaxInt is no bound.
func (b *Backend) Most() int {
	most := math.MaxInt
	if own := b.max.Load(); own > 0 {
		most = int(own)
	}
	if all := b.group.max.Load(); all > 0 {
		most = min(most, int(b.leases.Load()+max(all-b.group.leases.Load(), 0)))
	}
	return most
}

func reached(n, max *atomic.Int64) bool {
	most := max.Load()
	return most > 0 && n.Load() >= most
}

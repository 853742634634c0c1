package pool

import (
	"math"
	"sync/atomic"
)

// poolState is what the backends of one pool share. It outlives reloads.
type poolState struct {
	leases atomic.Int64
	max    atomic.Int64 // limit of leases; 0 means unlimited
	paths  pathSet      // on which sessions were opened
}

// TryAcquire takes a lease for one session. Take it before the dial, so that a
// burst of handshakes doesn't all go to one backend. It reports false if the
// backend or its pool is full; there are never more leases than allowed, except
// by AcquireReplacement. The caller must give each lease back with one Release.
func (b *Backend) TryAcquire() bool {
	if !tryIncrement(&b.leases, &b.max) {
		return false
	}
	if !tryIncrement(&b.shared.leases, &b.shared.max) {
		b.leases.Add(-1)
		b.reconcileIfUnused()
		return false
	}
	b.reconcileIfRemoved()
	return true
}

// AcquireReplacement takes a lease for a session that already has one on this
// backend, but has lost its connection and makes another. It succeeds even if
// the backend is full, since the first lease is given back soon.
func (b *Backend) AcquireReplacement() {
	b.leases.Add(1)
	b.shared.leases.Add(1)
	b.reconcileIfRemoved()
}

func (b *Backend) reconcileIfRemoved() {
	// The lease is counted before this check. Apply marks the backend before
	// it counts leases, so one of the two sees the other.
	if b.removed.Load() {
		b.registry.reconcile(b)
	}
}

// tryIncrement adds one to n unless it has reached max.
func tryIncrement(n, max *atomic.Int64) bool {
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
	b.shared.leases.Add(-1)
	b.reconcileIfUnused()
}

// BeginRequest marks a lease as one for a plain HTTP request. Give it back with
// ReleaseRequest.
func (b *Backend) BeginRequest() { b.requests.Add(1) }

// ReleaseRequest gives back the lease of a plain HTTP request.
func (b *Backend) ReleaseRequest() {
	b.requests.Add(-1)
	b.Release()
}

// Requests is how many of Sessions are plain HTTP requests.
func (b *Backend) Requests() int { return int(b.requests.Load()) }

func (b *Backend) reconcileIfUnused() {
	if b.removed.Load() && b.leases.Load() == 0 {
		b.registry.reconcile(b)
	}
}

// Sessions is the current number of leases, including those for plain HTTP
// requests.
func (b *Backend) Sessions() int { return int(b.leases.Load()) }

// Full reports whether TryAcquire would fail now.
func (b *Backend) Full() bool {
	return reached(&b.leases, &b.max) || reached(&b.shared.leases, &b.shared.max)
}

// SessionLimit is how many sessions the backend may have, given its own limit
// and what is left of its pool's; math.MaxInt means unlimited.
func (b *Backend) SessionLimit() int {
	most := math.MaxInt
	if own := b.max.Load(); own > 0 {
		most = int(own)
	}
	if all := b.shared.max.Load(); all > 0 {
		most = min(most, int(b.leases.Load()+max(all-b.shared.leases.Load(), 0)))
	}
	return most
}

func reached(n, max *atomic.Int64) bool {
	most := max.Load()
	return most > 0 && n.Load() >= most
}

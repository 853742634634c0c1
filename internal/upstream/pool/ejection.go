package pool

import (
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/clientprefix"
)

// failureRecord is what counts against a backend since its last successful
// handshake. Its size is bounded by the pool's max_fails. Guarded by status.mu.
type failureRecord struct {
	refused       int             // connections; no client can cause these
	broken        []failureSource // handshakes; see addBroken
	since         time.Time       // the first of them
	ejectedBefore bool            // and no handshake has succeeded since
}

type failureSource struct {
	client netip.Addr
	path   uint64
}

// addBroken adds a broken handshake and reports whether it counts. It counts once
// for each client. On a path that the backend isn't known to serve it also counts
// only once for each path, so that no single client or path counts more than once.
func (r *failureRecord) addBroken(w failureSource, served bool) bool {
	for _, before := range r.broken {
		if before.client == w.client || !served && before.path == w.path {
			return false
		}
	}
	r.broken = append(r.broken, w)
	return true
}

// ejects reports whether the backend should be ejected. Broken handshakes alone
// must have two sources, whatever maxFails is.
func (r *failureRecord) ejects(maxFails int) bool {
	need := maxFails
	if r.ejectedBefore {
		need = 1
	}
	return r.refused+len(r.broken) >= need && (r.refused > 0 || len(r.broken) >= 2)
}

// ConnectFailed reports that the backend could not be connected to. No client can
// cause that, so each failure counts. max_fails of them in a row within
// fail_timeout eject the backend for that time; after an ejection one more is
// enough.
func (b *Backend) ConnectFailed(reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.countsFailures() {
		b.failures.refused++
		b.addFailure(reason)
	}
}

// HandshakeFailed reports that the backend accepted a connection and then broke,
// ended or didn't answer the handshake. path has no query. The client chooses
// client and path, and many servers cut the connection of a request they don't
// like. So a failure counts as with ConnectFailed, but only once for each client
// (an IPv6 client by its /64), and on a path that the backend has never opened a
// session on, once for each path. (For a backend that has opened none at all,
// the paths of its pool count.) The result says whether the failure is a sign
// about the backend, and not only about the request.
func (b *Backend) HandshakeFailed(client netip.Addr, path []byte, reason string) (telling bool) {
	w := failureSource{clientprefix.Of(client), hashPath(path)}
	b.mu.Lock()
	defer b.mu.Unlock()
	served := b.knowsPath(w.path)
	if !b.countsFailures() || !b.failures.addBroken(w, served) {
		return served
	}
	b.addFailure(reason)
	return served || len(b.failures.broken) > 1
}

// countsFailures reports whether failures count now. It resets the record if
// that is too old. mu must be held.
func (b *Backend) countsFailures() bool {
	if b.maxFails == 0 || b.ejected() {
		return false
	}
	now := b.registry.clock.Now()
	if r := &b.failures; r.refused+len(r.broken) == 0 || now.Sub(r.since) > b.failTimeout {
		if !r.ejectedBefore {
			b.failureCount.Store(0)
		}
		r.refused, r.broken, r.since = 0, r.broken[:0], now
	}
	return true
}

func (b *Backend) ejected() bool {
	until := b.ejectedUntil.Load()
	return until != 0 && b.isBefore(until)
}

// addFailure ejects the backend if its failures suffice. mu must be held.
func (b *Backend) addFailure(reason string) {
	n := b.failureCount.Add(1)
	if !b.failures.ejects(b.maxFails) {
		return
	}
	now, before := b.registry.clock.Now(), b.stateName()
	until := now.Add(b.failTimeout)
	b.failures = failureRecord{ejectedBefore: true}
	b.ejectedUntil.Store(until.UnixNano())
	b.markUp(until)
	b.registry.clock.AfterFunc(b.failTimeout, func() { b.ejectionEnds(until) })
	b.logChange(byTraffic, slog.LevelWarn, "ejected", before,
		fmt.Sprintf("%d handshakes in a row failed, the last: %s; ejected for %v", n, reason, b.failTimeout))
}

// ejectionEnds is called when the ejection up to until has run out. It may have
// ended before.
func (b *Backend) ejectionEnds(until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ejectedUntil.CompareAndSwap(until.UnixNano(), 0) && !b.removed.Load() {
		b.logChange(byTraffic, slog.LevelInfo, b.stateName(), "ejected", "the ejection is over: it is tried again")
	}
}

// clearFailures forgets all failures. mu must be held.
func (b *Backend) clearFailures() {
	b.failureCount.Store(0)
	b.failures = failureRecord{}
}

// HandshakeSucceeded reports that the backend answered a handshake. This ends an
// ejection at once.
func (b *Backend) HandshakeSucceeded() {
	if b.failureCount.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clearFailures()
	now := b.registry.clock.Now()
	if until := b.ejectedUntil.Swap(0); until != 0 {
		if now.UnixNano() < until {
			b.markUp(now)
		}
		b.logChange(byTraffic, slog.LevelInfo, b.stateName(), "ejected", "a handshake succeeded")
	}
}

// SessionOpened is like HandshakeSucceeded, for a handshake that opened a session
// on path: from now on, failures on that path count against the backend.
func (b *Backend) SessionOpened(path []byte) {
	b.HandshakeSucceeded()
	h := hashPath(path)
	b.paths.add(h)
	b.shared.paths.add(h)
	if !b.everOpened.Load() {
		b.everOpened.Store(true)
	}
}

// knowsPath reports whether a session was opened on the path before, by the
// backend, or by its pool if the backend has opened none.
func (b *Backend) knowsPath(path uint64) bool {
	if b.everOpened.Load() {
		return b.paths.contains(path)
	}
	return b.shared.paths.contains(path)
}

// pathSet remembers hashes of paths in bounded memory: a path replaces another
// that has the same place, and is added again by its next session. The seed keeps
// clients from knowing which paths share a place.
type pathSet [64]atomic.Uint64

var pathSeed = maphash.MakeSeed()

func hashPath(path []byte) uint64 { return maphash.Bytes(pathSeed, path) | 1 } // 0 means none

func (p *pathSet) add(h uint64) {
	if at := &p[h>>32%uint64(len(p))]; at.Load() != h {
		at.Store(h)
	}
}

func (p *pathSet) contains(h uint64) bool { return p[h>>32%uint64(len(p))].Load() == h }

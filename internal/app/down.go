package app

import (
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// downs ends the sessions of backends that checks take down, in pools with on_down: close.
type downs struct {
	running sync.WaitGroup

	mu     sync.Mutex // guards the following
	down   map[*pool.Backend]bool
	closed bool
}

// changed is called after each change of a backend's state. It doesn't block.
func (d *downs) changed(b *pool.Backend, end func(*pool.Backend)) {
	down := b.Operational() == pool.Down && !b.Removed()
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !down:
		delete(d.down, b)
	case d.closed || d.down[b]:
	default:
		if d.down == nil {
			d.down = map[*pool.Backend]bool{}
		}
		d.down[b] = true
		d.running.Go(func() { end(b) })
	}
}

// soon runs f, which may block, unless close was called.
func (d *downs) soon(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.running.Go(f)
	}
}

// close ends nothing any more, and waits for what has begun.
func (d *downs) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.running.Wait()
}

// backendChanged is called after each change of a backend's state. It doesn't block.
func (a *App) backendChanged(b *pool.Backend) {
	a.drainer.Reconcile(b)
	a.agentMayHaveSaid(b)
	a.downs.changed(b, a.endSessionsOf)
}

// endSessionsOf ends the sessions of a backend that is down, if its pool has on_down: close.
func (a *App) endSessionsOf(b *pool.Backend) {
	a.reload.Lock() // also waits for the end of Start
	defer a.reload.Unlock()
	p := a.poolOf(b)
	if a.proxy == nil || a.stopped || p == nil || p.Health.OnDown != "close" {
		return
	}
	log := a.noted(api.EventBackend).With("pool", b.Pool, "backend", b.Name)
	if a.ignoresHealth(p) {
		log.Warn("a backend is down, and its sessions go on: the pool has fewer available backends than min_healthy", "sessions", b.Sessions())
		return
	}
	requests := a.proxy.CutAnswers(httpproxy.Cut{Which: ofBackend(b), Reason: session.BackendDown.String()})
	n := a.engine.CloseSessions(relay.CloseRequest{
		// A session that opens a moment later shows that the backend works.
		Selection: relay.Selection{Backends: map[uint32]relay.Bound{b.ID: {Most: relay.All, UpTo: time.Now()}}},
		Close:     relay.Close{Cause: session.BackendDown},
	})
	log.Warn("the sessions of a backend are ended, since it is down", "sessions", n, "http_requests", requests)
}

// ignoresHealth reports whether a pool has fewer available backends than min_healthy.
func (a *App) ignoresHealth(p *config.Pool) bool {
	g := a.proxy.Generation().Pools[p.Name]
	if g == nil {
		return false
	}
	available := 0
	for _, m := range g.Picker.Members() {
		if m.Backend.Availability() == pool.Available {
			available++
		}
	}
	return available < minHealthyOf(p, g.Picker.Members())
}

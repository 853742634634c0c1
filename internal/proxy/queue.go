package proxy

import (
	"errors"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/proxy/timing"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/stage/overload"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
)

var (
	errWaiting      = errors.New("the handshake waits in a queue") // which owns it now
	errQueueTimeout = failure.New(failure.QueueTimeout, "no backend had room for it within queue_timeout")
)

// queuedHandshake is a handshake in a pool's queue: what it needs to go on,
// without the buffers and the coroutine of a clientHandshake.
//
//	            wait                  Start, TimedOut         goOn
//	handshake ────────▶ in the queue, ───────────────▶ … ─────────▶ handshake
//	                    parked │                       │
//	                           └──────── gone ─────────┘
//
// Exactly one of goOn and gone is called; it uses or releases what TryStart took.
type queuedHandshake struct {
	proxy    *Proxy
	pool     string
	backend  uint32 // see ratelimit.EntryOptions
	tries    int
	affinity string
	id       session.ID   // as attempt.Request.ID
	began    time.Time    // as clientHandshake.began
	since    time.Time    // it has waited
	auth     *auth.Policy // with grant, what clientHandshake.authenticate has found out
	grant    *auth.Grant
	trace    *timing.Trace // nil unless it is traced
	entry    *ratelimit.Entry

	// Written by TryStart, which is called before goOn, and before entry.Leave
	// returns false.
	gen    *generation.Generation
	choice balance.Choice // with its lease and its token

	mu     sync.Mutex // held by wait until everything is set; guards the following
	ticket overload.Ticket
	hold   limit.Hold
	parked transport.Parked
	failed error
}

// wait puts the handshake into its pool's queue; errWaiting means that it is
// there. When its turn comes, it starts again from the beginning.
func (h *clientHandshake) wait() error {
	w := &queuedHandshake{proxy: h.p, pool: h.rule.Pool, backend: h.waitFor, tries: h.tries, affinity: h.affinity, id: h.req.ID, began: h.began, since: time.Now(), auth: h.auth, grant: h.req.Grant, gen: h.gen}
	entry := ratelimit.EntryOptions{Client: h.req.ClientIP(), Backend: h.waitFor}
	if h.waited != nil {
		w.since, entry.Since = h.waited.since, h.waited.since
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	if w.entry, err = h.gen.Pools[w.pool].Admit.Enqueue(entry, w); err != nil {
		h.affinity = refusedAffinity(h.affinity)
		return err
	}
	w.parked, err = h.conn.Park(append([]byte(nil), h.req.Bytes()...), w.goOn, w.gone)
	if err != nil {
		w.parked = nil
		w.leave()
		return failure.Wrap(failure.ClientGone, err)
	}
	w.ticket, w.hold = h.ticket.Wait(), h.hold.Move()
	w.trace = h.about(h.trace)
	return errWaiting
}

// TryStart implements ratelimit.Handshake. It chooses by the generation of now.
// True without a choice starts the handshake so that it chooses itself: its
// pool, or the backend that it waits for, is gone.
func (w *queuedHandshake) TryStart() bool {
	w.gen = w.proxy.generation.Load()
	p := w.gen.Pools[w.pool]
	if p == nil || p.Admit == nil {
		return true
	}
	c, restart, err := p.TakeQueued(w.backend)
	if err != nil || restart {
		c = balance.Choice{}
	}
	w.choice = c
	return err == nil
}

// Start implements ratelimit.Handshake.
func (w *queuedHandshake) Start() { w.resume(nil) }

// TimedOut implements ratelimit.Handshake.
func (w *queuedHandshake) TimedOut() { w.resume(errQueueTimeout) }

func (w *queuedHandshake) resume(failed error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.parked != nil {
		w.failed = failed
		w.parked.Resume()
	}
}

// goOn is the task of a handshake that has waited.
func (w *queuedHandshake) goOn(c transport.Conn) {
	w.mu.Lock() // until wait has returned
	w.mu.Unlock()
	w.proxy.serve(c, w)
}

// gone is called when the client has hung up.
func (w *queuedHandshake) gone() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leave()
	w.ticket.Leave()
	w.hold.Release()
	if w.affinity != "" {
		w.proxy.Watcher.AffinityDone(w.pool, w.affinity) // as for a client that leaves while its backend is asked
	}
	w.proxy.Watcher.HandshakeDone(Where{Pool: w.pool}, failure.ClientGone.Result(), time.Since(w.began))
	if t := w.trace; t != nil {
		t.Waited(timing.Queue, w.since)
		t.Result = failure.ClientGone.Result()
		t.Finish()
		w.proxy.Watcher.HandshakeTraced(t)
	}
}

// leave takes it out of the queue, if it is there.
func (w *queuedHandshake) leave() {
	if !w.entry.Leave() {
		w.release()
	}
}

// release gives back what TryStart took and nobody has used.
func (w *queuedHandshake) release() {
	if b := w.choice.Backend; b != nil {
		b.Release()
		w.gen.Pools[w.pool].Bucket(w.choice.Index).Return()
		w.choice = balance.Choice{}
	}
}

// refusedAffinity is the result of affinity for a client that the queue refused:
// it is not with its backend again.
func refusedAffinity(result string) string {
	if result == generation.AffinityKept {
		return generation.AffinityRefused
	}
	return result
}

// takeReserved begins a try with what the queue took for a handshake that has
// waited, and reports whether there was something that is still valid.
func (h *clientHandshake) takeReserved() (ok bool, err error) {
	w := h.waited
	if w == nil {
		return false, nil
	}
	defer w.release()
	switch {
	case w.failed != nil:
		h.affinity = refusedAffinity(w.affinity)
		return false, w.failed
	case h.p.Gate.Stopping():
		h.affinity = refusedAffinity(w.affinity)
		return false, overload.ErrStopping
	case w.choice.Backend == nil || w.gen != h.gen || w.pool != h.rule.Pool:
		return false, nil
	}
	p := w.gen.Pools[w.pool]
	h.affinity = w.affinity
	h.try.Begin(p, w.choice, p.Bucket(w.choice.Index))
	w.choice = balance.Choice{}
	return true, nil
}

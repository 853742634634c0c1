package simulate

import (
	"errors"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/proxy/reservation"
	"github.com/holdfast-ws/holdfast/internal/retry"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// attempt is a handshake at the balancer: a client's, or one that gives a
// session another backend (a move). It takes the same way as in the spine
// (internal/proxy) and asks the same packages: retry whether to go on, and
// reservation for a move in a pool with a rate.
//
//	          ┌───────────────── another backend ─────────────┐
//	          ▼                                                │
//	start ──▶ choose ──▶ send ──▶ (server) ──▶ response, or none ──▶ finish
//	          ▲    │                                           │
//	          │    └── no token ──▶ queue ── timeout ──────────┤
//	          └─────── pause ◀── no backend now, after a loss ─┘
type attempt struct {
	w      *world
	index  int32
	gen    uint32 // grows with each backend, and when the attempt ends
	client int32

	tries       int // backends asked
	tried       balance.Tried
	choice      balance.Choice    // the backend that is asked, with its lease
	inFlight    *ratelimit.Bucket // of the token that it has taken from the queue and not used yet
	entry       *ratelimit.Entry  // in the queue
	waitedFrom  time.Time         // when it began to wait in the queue; zero: it never did
	sentAt      time.Duration
	incarnation uint32 // of the server that is asked

	// For moves only.
	move           bool
	reserved       *reservation.Reservation // that it waits for
	deadline       time.Duration
	closeOnFailure bool // the session is closed if it can't be moved
	belowFairShare bool // only to a backend below its fair share
	mayPass        bool // a failure of a backend in this search may pass

	// For moves of sessions that have lost their server.
	lost        bool
	again       bool // an earlier search found nothing
	searchUntil time.Duration
}

// attempts has all attempts; those that have ended are used again.
type attempts struct {
	all  []*attempt
	free []int32
}

func (w *world) newAttempt(client int32) *attempt {
	p := &w.attempts
	if n := len(p.free); n > 0 {
		a := p.all[p.free[n-1]]
		p.free = p.free[:n-1]
		*a = attempt{w: w, index: a.index, gen: a.gen, client: client}
		return a
	}
	a := &attempt{w: w, index: int32(len(p.all)), client: client}
	p.all = append(p.all, a)
	return a
}

// finish ends a, which must hold nothing any more.
func (w *world) finish(a *attempt) {
	a.gen++
	w.clients[a.client].attempt = none
	w.attempts.free = append(w.attempts.free, a.index)
}

// start begins an attempt, or another search of one. In a pool with a rate, a
// move waits for a reservation.
func (w *world) start(a *attempt) {
	if a.move && w.limiter != nil {
		w.reserve(a)
		return
	}
	w.choose(a)
}

// choose chooses a backend and asks it.
func (w *world) choose(a *attempt) {
	var limits balance.RateLimits
	if w.limiter != nil && !a.move {
		limits = w.newLimits
		if a.tries > 0 || !a.waitedFrom.IsZero() {
			limits = w.queuedLimits
		}
	}
	var err error
	a.choice, err = w.take(a, a.tried, limits)
	switch {
	case errors.Is(err, balance.ErrRateLimited):
		w.enqueue(a)
		return
	case err != nil:
		w.attemptFailed(a, failure.Of(err).Code)
		return
	case a.move && w.limiter != nil:
		w.buckets[a.choice.Index].Charge()
	case limits != nil && limits == w.queuedLimits:
		a.inFlight = w.buckets[a.choice.Index]
	}
	w.send(a)
}

// take takes a backend other than those tried.
func (w *world) take(a *attempt, tried balance.Tried, limits balance.RateLimits) (balance.Choice, error) {
	q := balance.Query{Tried: tried, Session: true, Lost: w.lostBackend(a), RateLimits: limits}
	if a.belowFairShare {
		return w.picker.TakeBelowFairShare(&q)
	}
	return w.picker.Take(&q)
}

// reserve reserves a backend for a move, and lets the move wait for its token.
func (w *world) reserve(a *attempt) {
	within := w.pool.Reattach.Timeout
	if a.again {
		within = a.searchUntil - w.now
	}
	choose := func(tried balance.Tried) (balance.Choice, error) { return w.take(a, tried, nil) }
	r, err := reservation.Make(within, &a.tried, choose, func(member int) *ratelimit.Bucket { return w.buckets[member] })
	if err != nil {
		w.attemptFailed(a, failure.Of(err).Code)
		return
	}
	a.reserved = r
	if !a.again {
		a.deadline = w.now + r.Wait + w.pool.Reattach.Timeout
	}
	w.schedule(w.now+r.Wait, reservationDue, a.index, a.gen)
}

// reservationDue is called when a move has its token. If its backend takes no
// sessions any more, another is asked.
func (w *world) reservationDue(a *attempt) {
	r := a.reserved
	a.reserved = nil
	var ok bool
	if a.choice, ok = r.Redeem(w.picker, r.Choice.Index); ok {
		w.send(a)
		return
	}
	w.choose(a)
}

// enqueue puts a client's handshake into the pool's queue.
func (w *world) enqueue(a *attempt) {
	o := ratelimit.EntryOptions{Client: address(a.client), Since: a.waitedFrom}
	if a.waitedFrom.IsZero() {
		a.waitedFrom = w.Now()
	}
	var err error
	if a.entry, err = w.limiter.Enqueue(o, a); err != nil {
		w.attemptFailed(a, failure.Of(err).Code)
	}
}

// TryStart implements ratelimit.Handshake.
func (a *attempt) TryStart() bool {
	var err error
	if a.choice, err = a.w.picker.Take(&balance.Query{Session: true, RateLimits: a.w.queuedLimits}); err != nil {
		a.choice = balance.Choice{}
		return false
	}
	a.inFlight = a.w.buckets[a.choice.Index]
	return true
}

// Start implements ratelimit.Handshake.
func (a *attempt) Start() {
	a.entry = nil
	a.w.send(a)
}

// TimedOut implements ratelimit.Handshake.
func (a *attempt) TimedOut() {
	a.entry = nil
	a.w.attemptFailed(a, failure.QueueTimeout)
}

// send sends the handshake to the backend that it has a lease on.
func (w *world) send(a *attempt) {
	if a.inFlight != nil {
		a.inFlight.MarkSent()
		a.inFlight = nil
	}
	a.tries++
	a.gen++
	a.sentAt = w.now
	s := w.servers[a.choice.Index]
	a.incarnation = s.incarnation
	w.connectTo(s, a)
}

// responseArrived is called when a server's response is at the balancer.
func (w *world) responseArrived(a *attempt) {
	s := w.servers[a.choice.Index]
	if a.incarnation != s.incarnation {
		w.noResponse(a, failure.Silent)
		return
	}
	a.choice.Backend.HandshakeSucceeded()
	if w.limiter != nil {
		w.buckets[a.choice.Index].Observe(w.now-a.sentAt, true)
	}
	if a.move {
		w.sessionMoved(a, s)
	} else {
		w.sessionOpened(a.client, s)
	}
	w.finish(a)
}

// noResponse is called when the backend refused, died or didn't answer. That
// counts against it, and another may be asked.
func (w *world) noResponse(a *attempt, code failure.Code) {
	b := a.choice.Backend
	if w.limiter != nil {
		w.buckets[a.choice.Index].Observe(w.now-a.sentAt, false)
	}
	a.tried.Add(a.choice.Index)
	b.ConnectFailed("no answer")
	b.Release()
	a.choice = balance.Choice{}
	a.gen++
	a.mayPass = a.mayPass || retry.MayPass(code, 0)
	again := retry.Handshake(code, a.tries)
	if a.move {
		again = retry.Search(code, a.tries)
	}
	if again {
		w.choose(a)
	} else {
		w.attemptFailed(a, code)
	}
}

// attemptFailed ends an attempt that holds no lease. A session that has lost its
// server searches again if the failure may pass.
func (w *world) attemptFailed(a *attempt, code failure.Code) {
	if a.lost && w.now < a.searchUntil && (a.mayPass || retry.MayPass(code, 0)) {
		a.gen++
		w.schedule(min(a.searchUntil, w.now+w.pause(a)), searchAgain, a.index, a.gen)
		return
	}
	w.finish(a)
	if a.move {
		w.moveFailed(a)
		return
	}
	w.meter.result.Refused++
	w.handshakeFailed(a.client)
}

// pause is how long a session that has lost its server waits before it searches
// again.
func (w *world) pause(a *attempt) time.Duration {
	lostAt := a.searchUntil - w.pool.Reattach.Timeout
	return retry.Pause(w.now-lostAt, w.rand.Float64())
}

// searchAgain is called when a pause is over. From now on the server that was lost
// may be asked, too.
func (w *world) searchAgain(a *attempt) {
	if w.now >= a.searchUntil {
		w.finish(a)
		w.moveFailed(a)
		return
	}
	a.again, a.deadline = true, a.searchUntil
	a.tries, a.tried, a.mayPass = 0, balance.Tried{}, false
	w.start(a)
}

// lostBackend is the backend that a's session has lost, once that may be asked.
func (w *world) lostBackend(a *attempt) *pool.Backend {
	if !a.again {
		return nil
	}
	return w.servers[w.clients[a.client].server].backend
}

// abandon ends an attempt that is no longer needed.
func (w *world) abandon(a *attempt) {
	switch {
	case a.entry != nil:
		a.entry.Leave()
		a.entry = nil
	case a.reserved != nil:
		a.reserved.Cancel()
		a.reserved = nil
	case a.choice.Backend != nil:
		a.choice.Backend.Release()
		a.choice = balance.Choice{}
	}
	w.finish(a)
}

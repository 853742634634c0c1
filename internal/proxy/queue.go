package proxy

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/admission"
	"github.com/holdfast-ws/holdfast/internal/admit"
	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// throttle is how a pool's backends are spared a storm of handshakes. The
// zero value is that they aren't.
type throttle struct {
	Admit   *admit.Pool
	buckets []*admit.Bucket // by member
	// What a picker goes by for a handshake that has just come, and for one
	// that has waited or been tried.
	coming, queued balance.Rates
}

// SetAdmit has the pool's WebSocket handshakes pass q, which outlives the
// Pool. It is for who makes the Pool.
func (p *Pool) SetAdmit(q *admit.Pool) {
	p.Admit = q
	for _, m := range p.Picker.Members() {
		p.buckets = append(p.buckets, q.Backend(m.Backend.ID, m.Backend.Risen))
	}
	p.coming, p.queued = &rates{p.buckets, false}, &rates{p.buckets, true}
}

type rates struct {
	buckets []*admit.Bucket
	queued  bool
}

func (r *rates) Ready(i int) bool   { return r.buckets[i].Ready(r.queued) }
func (r *rates) TryPass(i int) bool { return r.buckets[i].TryPass(r.queued) }

// member is the index of a backend, or -1.
func (p *Pool) member(id uint32) int {
	for i, m := range p.Picker.Members() {
		if m.Backend.ID == id {
			return i
		}
	}
	return -1
}

var (
	errWaiting      = errors.New("the handshake waits in a queue") // which has it now
	errQueueTimeout = errors.New("no backend had room for it within queue_timeout")
)

// waiting is a handshake in a pool's queue: what it takes to go on, without
// the buffers and the coroutine of an attempt.
//
//	           wait                    Release, Timeout        goOn
//	attempt ─────────▶ in the queue, ───────────────────▶ … ─────────▶ attempt
//	                   parked │                             │
//	                          └──────────── gone ───────────┘
//
// Exactly one of goOn and gone comes, and gives back or uses what Take took.
type waiting struct {
	proxy    *Proxy
	pool     string
	want     uint32 // see admit.Place
	tries    int
	affinity string
	began    time.Time // as the attempt's
	since    time.Time // it has waited
	seat     *admit.Waiter

	// Written by Take, which comes before goOn, and before seat.Leave is false.
	gen    *Generation
	choice balance.Choice // with its lease and its token

	mu     sync.Mutex // held by wait until all is set; guards the following
	ticket admission.Ticket
	parked transport.Parked
	failed error
}

// wait puts the attempt into its pool's queue; errWaiting means that it is
// there. The attempt begins anew when it is its turn.
func (a *attempt) wait() error {
	w := &waiting{proxy: a.p, pool: a.rule.Pool, tries: a.tries, affinity: a.affinity, began: a.began, since: time.Now(), gen: a.gen}
	at := admit.Place{Client: (*attemptRequest)(a).ClientIP()}
	if a.choice.Backend != nil {
		w.want, at.Want = a.choice.Backend.ID, a.choice.Backend.ID
	}
	if a.waited != nil {
		w.since, at.Since = a.waited.since, a.waited.since
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	if w.seat, err = a.gen.Pools[w.pool].Admit.Enqueue(at, w); err != nil {
		return err
	}
	w.parked, err = a.client.Park(append([]byte(nil), a.in[:a.have]...), w.goOn, w.gone)
	if err != nil {
		w.parked = nil
		w.leave()
		return err
	}
	w.ticket = a.ticket.Wait()
	return errWaiting
}

// Take implements admit.Handshake. It chooses by what is configured now. True
// without a choice has the handshake begin anew, where a choice of its own is
// to be made: its pool or the backend that it waits for is gone.
func (w *waiting) Take() bool {
	w.gen = w.proxy.generation.Load()
	p := w.gen.Pools[w.pool]
	if p == nil || p.Admit == nil {
		return true
	}
	var err error
	if w.want == 0 {
		w.choice, err = p.Picker.Take(&balance.Query{Session: true, Rates: p.queued})
	} else {
		c, ok := p.Picker.TakeMember(p.member(w.want))
		if !ok {
			return true
		}
		w.choice, err = passed(p.queued, c)
	}
	if err != nil {
		w.choice = balance.Choice{}
	}
	return err == nil
}

// Release implements admit.Handshake.
func (w *waiting) Release() { w.resume(nil) }

// Timeout implements admit.Handshake.
func (w *waiting) Timeout() { w.resume(errQueueTimeout) }

func (w *waiting) resume(failed error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.parked != nil {
		w.failed = failed
		w.parked.Resume()
	}
}

// goOn is the task of a handshake that has waited.
func (w *waiting) goOn(c transport.Conn) {
	w.mu.Lock() // wait is over
	w.mu.Unlock()
	w.proxy.serve(c, w)
}

// gone is called when the client has hung up.
func (w *waiting) gone() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leave()
	w.ticket.Leave()
	w.proxy.Watcher.HandshakeDone(resultClientGone, time.Since(w.began))
}

// leave takes it out of the queue, if it is there.
func (w *waiting) leave() {
	if !w.seat.Leave() {
		w.giveBack()
	}
}

// giveBack returns what Take took and nobody used.
func (w *waiting) giveBack() {
	if b := w.choice.Backend; b != nil {
		b.Release()
		w.gen.Pools[w.pool].buckets[w.choice.Index].Return()
		w.choice = balance.Choice{}
	}
}

// takeReserved takes what the queue got for an attempt that has waited, and
// reports whether there was something that still holds.
func (a *attempt) takeReserved() (ok bool, err error) {
	w := a.waited
	if w == nil {
		return false, nil
	}
	defer w.giveBack()
	switch {
	case w.failed != nil:
		return false, w.failed
	case a.p.Gate.Stopping():
		return false, admission.ErrStopping
	case w.choice.Backend == nil || w.gen != a.gen || w.pool != a.rule.Pool:
		return false, nil
	}
	a.choice, a.affinity = w.choice, w.affinity
	a.let = w.gen.Pools[w.pool].buckets[w.choice.Index]
	w.choice = balance.Choice{}
	return true, nil
}

// rates are what the next choice goes by: who has waited or been tried is not
// to wait behind those who come.
func (a *attempt) rates(p *Pool) balance.Rates {
	if a.waited != nil || a.tries > 0 {
		return p.queued
	}
	return p.coming
}

// sent tells the bucket of a queued handshake that its backend hears of it.
func (a *attempt) sent() {
	if a.let != nil {
		a.let.Sent()
		a.let = nil
	}
}

// answered tells how the chosen backend took the handshake, by which the rate
// adapts. One that says itself that it is overloaded has failed.
func (a *attempt) answered(status int) {
	p := a.gen.Pools[a.rule.Pool]
	if p.Admit == nil {
		return
	}
	ok := status > 0 && status < 500 && status != http.StatusTooManyRequests
	p.buckets[a.choice.Index].Done(time.Since(a.asked), ok)
}

package simulate

import (
	"errors"
	"time"

	"github.com/holdfast-ws/holdfast/internal/admit"
	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/pool"
)

// maxTries is how many backends the balancer asks for one handshake.
const maxTries = 3

// attempt is a handshake at the balancer: a client's, or a move's, by which a
// session comes to another backend. It takes the way that the spine
// (internal/proxy) has it take.
//
//	       ┌──────────────────── others ────────────────┐
//	       ▼                                             │
//	begin ───▶ choose ───▶ ask ───▶ (server) ───▶ answered, unanswered ───▶ over
//	  ▲                                                  │
//	  └──── pause ◀──── none now, after a loss ──────────┘
//	             │ ▲                                             ▲
//	             ▼ │                                             │
//	         (admit's queue) ──────────── timeout ───────────────┘
type attempt struct {
	w      *world
	index  int32
	turn   uint32 // grows when it is over, and with each backend
	client int32

	tries  int
	tried  balance.Tried
	choice balance.Choice // with its lease, while it is asked
	let    *admit.Bucket  // whose token it has and hasn't used
	seat   *admit.Waiter  // in the queue
	since  time.Time      // it waits; zero: it never did
	asked  time.Duration
	life   uint32 // of the server that is asked

	// Of moves only.
	move     bool
	booked   bool // it waits for the token of its choice
	deadline time.Duration
	orClose  bool // a session that can't be moved is closed
	below    bool // to a backend below its fair share, or to none

	// Of moves of sessions that have lost their server only.
	loss  bool
	again bool // it has looked for another in vain
	late  bool // no token comes in time
	until time.Duration
}

// attempts has them all; those that are over are used again.
type attempts struct {
	all  []*attempt
	idle []int32
}

func (w *world) newAttempt(client int32) *attempt {
	p := &w.attempts
	if n := len(p.idle); n > 0 {
		a := p.all[p.idle[n-1]]
		p.idle = p.idle[:n-1]
		*a = attempt{w: w, index: a.index, turn: a.turn, client: client}
		return a
	}
	a := &attempt{w: w, index: int32(len(p.all)), client: client}
	p.all = append(p.all, a)
	return a
}

// over ends a, which holds nothing any more.
func (w *world) over(a *attempt) {
	a.turn++
	w.clients[a.client].attempt = none
	w.attempts.idle = append(w.attempts.idle, a.index)
}

// begin chooses a backend and asks it.
func (w *world) begin(a *attempt) {
	q := balance.Query{Tried: a.tried, Session: true, Own: w.own(a)}
	if w.admit != nil && !a.move {
		q.Rates = w.coming
		if a.tries > 0 || !a.since.IsZero() {
			q.Rates = w.queued
		}
	}
	if a.move && w.admit != nil && a.tries == 0 {
		w.book(a)
		return
	}
	var err error
	a.choice, err = w.takeOne(a, &q)
	switch {
	case errors.Is(err, balance.ErrHeld):
		w.wait(a)
		return
	case err != nil:
		w.refused(a)
		return
	case a.move && w.admit != nil:
		w.buckets[a.choice.Index].Spend()
	case q.Rates != nil && q.Rates == w.queued:
		a.let = w.buckets[a.choice.Index]
	}
	w.ask(a)
}

func (w *world) takeOne(a *attempt, q *balance.Query) (balance.Choice, error) {
	if a.below {
		return w.picker.TakeBelow(q)
	}
	return w.picker.Take(q)
}

// book chooses the backend of a move whose token comes in time, and has it wait
// for that.
func (w *world) book(a *attempt) {
	most := w.pool.Reattach.Timeout
	if a.again {
		most = a.until - w.now
	}
	for range maxTries {
		c, err := w.takeOne(a, &balance.Query{Tried: a.tried, Session: true, Own: w.own(a)})
		if err != nil {
			break
		}
		if after, ok := w.buckets[c.Index].Book(most); ok {
			a.choice, a.booked = c, true
			if !a.again {
				a.deadline = w.now + after + w.pool.Reattach.Timeout
			}
			w.plan(w.now+after, turnCame, a.index, a.turn)
			return
		}
		c.Backend.Release()
		a.tried.Add(c.Index)
		a.late = true
	}
	w.refused(a)
}

// turnCame is called when a move has its token. Where its backend has begun to
// drain meanwhile, it needs another.
func (w *world) turnCame(a *attempt) {
	a.booked = false
	if !a.choice.Backend.Drains() {
		w.ask(a)
		return
	}
	w.buckets[a.choice.Index].Refund()
	a.choice.Backend.Release()
	a.tried.Add(a.choice.Index)
	a.choice = balance.Choice{}
	a.tries++
	w.begin(a)
}

func (w *world) wait(a *attempt) {
	at := admit.Place{Client: address(a.client), Since: a.since}
	if a.since.IsZero() {
		a.since = w.Now()
	}
	var err error
	if a.seat, err = w.admit.Enqueue(at, a); err != nil {
		w.refused(a)
	}
}

// Take implements admit.Handshake.
func (a *attempt) Take() bool {
	var err error
	if a.choice, err = a.w.picker.Take(&balance.Query{Session: true, Rates: a.w.queued}); err != nil {
		a.choice = balance.Choice{}
		return false
	}
	a.let = a.w.buckets[a.choice.Index]
	return true
}

// Release implements admit.Handshake.
func (a *attempt) Release() {
	a.seat = nil
	a.w.ask(a)
}

// Timeout implements admit.Handshake.
func (a *attempt) Timeout() {
	a.seat = nil
	a.w.refused(a)
}

// ask sends the handshake to the backend whose lease it has.
func (w *world) ask(a *attempt) {
	if a.let != nil {
		a.let.Sent()
		a.let = nil
	}
	a.tries++
	a.turn++
	a.asked = w.now
	s := w.servers[a.choice.Index]
	a.life = s.life
	w.reach(s, a)
}

// answered is called when a server's answer is there.
func (w *world) answered(a *attempt) {
	s := w.servers[a.choice.Index]
	if a.life != s.life {
		w.unanswered(a)
		return
	}
	a.choice.Backend.HandshakeOK()
	if w.admit != nil {
		w.buckets[a.choice.Index].Done(w.now-a.asked, true)
	}
	if a.move {
		w.moved(a, s)
	} else {
		w.opened(a.client, s)
	}
	w.over(a)
}

// unanswered is called when the backend refused, died or said nothing. It is
// to blame, and another is asked.
func (w *world) unanswered(a *attempt) {
	b := a.choice.Backend
	if w.admit != nil {
		w.buckets[a.choice.Index].Done(w.now-a.asked, false)
	}
	a.tried.Add(a.choice.Index)
	b.HandshakeFailed("no answer")
	b.Release()
	a.choice = balance.Choice{}
	a.turn++
	if a.tries < maxTries {
		w.begin(a)
	} else {
		w.refused(a)
	}
}

// refused ends an attempt that came to nothing; it has no lease. A session that
// has lost its server looks again.
func (w *world) refused(a *attempt) {
	if a.loss && !a.late && w.now < a.until {
		a.turn++
		w.plan(min(a.until, w.now+w.pause(a)), looksAgain, a.index, a.turn)
		return
	}
	w.over(a)
	if a.move {
		w.notMoved(a)
		return
	}
	w.meter.result.Refused++
	w.failed(a.client)
}

// The pauses between looks are those of internal/relay.
const (
	leastPause = 250 * time.Millisecond
	mostPause  = time.Second
)

func (w *world) pause(a *attempt) time.Duration {
	since := w.now + w.pool.Reattach.Timeout - a.until
	d := min(max(since/2, leastPause), mostPause)
	return d/2 + time.Duration(w.rand.Float64()*float64(d))
}

// lookAgain is called when a pause is over. The server that was lost is one of
// the pool from now on.
func (w *world) lookAgain(a *attempt) {
	if w.now >= a.until {
		w.refused(a)
		return
	}
	a.again, a.deadline = true, a.until
	a.tries, a.tried = 0, balance.Tried{}
	w.begin(a)
}

// own is the backend that a's session has lost, where it may be asked too.
func (w *world) own(a *attempt) *pool.Backend {
	if !a.again {
		return nil
	}
	return w.servers[w.clients[a.client].server].backend
}

// abandon ends an attempt that nobody wants any more.
func (w *world) abandon(a *attempt) {
	switch {
	case a.seat != nil:
		a.seat.Leave()
		a.seat = nil
	case a.choice.Backend != nil:
		if a.booked {
			w.buckets[a.choice.Index].Refund()
		}
		a.choice.Backend.Release()
		a.choice = balance.Choice{}
	}
	w.over(a)
}

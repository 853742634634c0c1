package relay

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// Epoll is the Engine on event loops, and the transport.Network whose
// connections it takes. A session lives on the loop its client was accepted
// on, with both its sockets.
type Epoll struct {
	*eventloop.Group
	loops  []*epollLoop
	active atomic.Int64
	texts  texts
}

// NewEpoll starts n loops.
func NewEpoll(n int, times Times, log *slog.Logger, ended Ended) (*Epoll, error) {
	e := &Epoll{}
	g, err := eventloop.NewGroup(n, log, func(l *eventloop.Loop) eventloop.Owner {
		el := &epollLoop{Loop: l, engine: e, times: times.ticks(), ended: ended}
		e.loops = append(e.loops, el)
		return el
	})
	if err != nil {
		return nil, err
	}
	e.Group = g
	return e, nil
}

// SetMover implements Engine.
func (e *Epoll) SetMover(m Mover) {
	e.Group.Each(func(i int, _ *eventloop.Loop) { e.loops[i].mover = m })
}

// Start implements Engine.
func (e *Epoll) Start(client, backend transport.Conn, s Start) error {
	l, slot, socks, err := eventloop.Release(client, backend)
	if err != nil {
		return err
	}
	for _, el := range e.loops {
		if el.Loop == l {
			el.start(slot, socks, &s)
			return nil
		}
	}
	panic("relay: a connection of another engine") // Release took it from one of its loops
}

// CloseSessions implements Engine. The loops take turns in the spread.
func (e *Epoll) CloseSessions(o Order) int {
	o.Reason = e.texts.reason(&o)
	if o.Most != nil {
		return e.closeOldest(o)
	}
	began := time.Now()
	total := 0
	e.Group.Each(func(i int, l *eventloop.Loop) {
		total += e.loops[i].order(o, time.Since(began), i)
	})
	return total
}

// closeOldest is CloseSessions with Order.Most: who is to be closed is known
// when all loops have been asked.
func (e *Epoll) closeOldest(o Order) (total int) {
	type place struct {
		loop int
		slot int32
	}
	all := oldest[place]{most: o.Most}
	e.look(func(loop int, slot int32, r *record) {
		if r.chosen(&o) {
			all.add(r.backend, r.started, place{loop, slot})
		}
	})
	chosen := all.sorted()
	began := time.Now()
	e.Group.Each(func(i int, _ *eventloop.Loop) {
		for n, c := range chosen {
			if c.session.loop != i {
				continue
			}
			after := o.Spread*time.Duration(n)/time.Duration(len(chosen)) - time.Since(began)
			if e.loops[i].orderOne(&o, c.session.slot, c.started, after) {
				total++
			}
		}
	})
	return total
}

// Leaving implements Engine.
func (e *Epoll) Leaving() map[uint32]int {
	leaving := make(map[uint32]int)
	e.look(func(_ int, _ int32, r *record) {
		if r.leaves() {
			leaving[r.backend]++
		}
	})
	return leaving
}

// portion is how many chunks of records are looked at before a loop may do
// other things: it takes about a millisecond (BenchmarkLook).
const portion = 16

// look calls f for every session, on its loop, one at a time. What is asked for
// again and again mustn't hold the loops up.
func (e *Epoll) look(f func(loop int, slot int32, r *record)) {
	for first, more := 0, true; more; first += portion {
		more = false
		e.Group.Each(func(i int, _ *eventloop.Loop) {
			el := e.loops[i]
			el.eachIn(first, first+portion, func(slot int32, r *record) { f(i, slot, r) })
			more = more || first+portion < len(el.records)
		})
	}
}

// Abort implements Engine.
func (e *Epoll) Abort(cause session.Cause) {
	e.Group.Each(func(i int, _ *eventloop.Loop) { e.loops[i].abort(cause) })
}

// Each implements Engine.
func (e *Epoll) Each(f func(session.Summary)) {
	var all []session.Summary
	e.Group.Each(func(i int, _ *eventloop.Loop) {
		el := e.loops[i]
		el.each(func(_ int32, r *record) { all = append(all, r.summary()) })
	})
	for _, s := range all {
		f(s)
	}
}

// Trim implements Engine.
func (e *Epoll) Trim() {
	e.Group.Each(func(i int, l *eventloop.Loop) {
		l.Trim()
		e.loops[i].trim()
	})
}

// Traffic implements Engine.
func (e *Epoll) Traffic() (sum [2]session.Traffic) {
	for _, el := range e.loops {
		for s := range sum {
			sum[s].Messages += el.published[s].messages.Load()
			sum[s].Bytes += el.published[s].bytes.Load()
		}
	}
	return sum
}

// Active implements Engine.
func (e *Epoll) Active() int { return int(e.active.Load()) }

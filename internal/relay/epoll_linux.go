package relay

import (
	"log/slog"
	"sync/atomic"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
)

// Epoll is the Engine on event loops, and the transport.Network whose
// connections it takes. A session lives on the loop its client was accepted
// on, with both its sockets.
type Epoll struct {
	*eventloop.Group
	*tuned
	loops  []*epollLoop
	active atomic.Int64
	texts  texts
	log    *slog.Logger
}

// NewEpoll starts n loops; 0 is one for each processor.
func NewEpoll(n int, times Times, log *slog.Logger, ended Ended) (*Epoll, error) {
	if n == 0 {
		n = eventloop.Processors()
	}
	all := times.ticks()
	e := &Epoll{tuned: all.tuned, log: log}
	g, err := eventloop.NewGroup(n, log, func(l *eventloop.Loop) eventloop.Owner {
		el := &epollLoop{Loop: l, engine: e}
		el.backlog.allow(0, 1)
		el.driver = driver{conns: el, times: all.forDriver(), texts: &e.texts, ended: ended, log: log}
		e.loops = append(e.loops, el)
		return el
	})
	if err != nil {
		return nil, err
	}
	e.Group = g
	return e, nil
}

// Tune implements Engine.
func (e *Epoll) Tune(t Tuning) {
	e.tuned.Tune(t)
	for _, el := range e.loops {
		el.Post(func() { el.backlog.allow(t.Backlog, len(e.loops)) })
	}
}

// SetReattacher implements Engine.
func (e *Epoll) SetReattacher(m Reattacher) {
	e.Group.Each(func(i int, _ *eventloop.Loop) { e.loops[i].reattacher = m })
}

// Start implements Engine.
func (e *Epoll) Start(client, backend transport.Conn, s Start) error {
	var pair [2]transport.Conn
	for i, c := range [...]transport.Conn{client, backend} {
		var err error
		if pair[i], err = socketOf(c); err != nil {
			return err
		}
	}
	l, slot, socks, err := eventloop.Release(pair[session.Client], pair[session.Backend])
	if err != nil {
		return err
	}
	above := [2]tlsconn.Released{released(client), released(backend)}
	for _, el := range e.loops {
		if el.Loop == l {
			el.start(slot, socks, above, &s)
			return nil
		}
	}
	panic("relay: a connection of another engine") // Release took it from one of its loops
}

// Abort implements Engine.
func (e *Epoll) Abort(cause session.Cause) {
	e.Group.Each(func(i int, _ *eventloop.Loop) { e.loops[i].abortAll(cause) })
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

// Backlog implements Engine.
func (e *Epoll) Backlog() (sum int64) {
	for _, el := range e.loops {
		sum += el.held.Load()
	}
	return sum
}

// BackendTraffic implements Engine.
func (e *Epoll) BackendTraffic(keep func(backend uint32) bool) map[uint32][2]session.Traffic {
	sum := make(map[uint32][2]session.Traffic)
	e.Group.Each(func(i int, _ *eventloop.Loop) { e.loops[i].meters.read(sum, keep) })
	return sum
}

// Loops implements Engine.
func (e *Epoll) Loops() (loops, processors int) { return len(e.loops), eventloop.Processors() }

// Active implements Engine.
func (e *Epoll) Active() int { return int(e.active.Load()) }

package eventloop

import (
	"fmt"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// inPark is the task of a slot whose connection is parked.
const inPark = int32(-2)

// parked is a connection without a task. Except for Resume and Close, it is used
// on its loop only.
type parked struct {
	loop   *Loop
	slot   int32
	over   bool // resumed, closed or gone
	conn   Conn // of no task
	resume func(transport.Conn)
	gone   func()
}

// Park implements transport.Conn. Only an accepted connection can be parked, and
// not while a connection that its task has dialled is open.
func (c *Conn) Park(first []byte, resume func(transport.Conn), gone func()) (transport.Parked, error) {
	t := c.task
	switch {
	case c.fd < 0 || t.killed:
		return nil, errClosed
	case c.side != session.Client || t.conns[session.Backend].fd >= 0:
		return nil, fmt.Errorf("eventloop: park: %s is not alone", c.remote)
	case c.HungUp():
		return nil, transport.ErrHungUp // there would be no other event
	}
	l := t.loop
	p := &parked{loop: l, slot: t.slot, conn: *c, resume: resume, gone: gone}
	p.conn.task = nil
	p.conn.first = append(first, c.first...)
	l.Disarm(t.slot)
	l.slots.at(t.slot).task = inPark
	l.parked[t.slot] = p
	t.slot, c.fd, c.first = nobody, -1, nil
	return p, nil
}

// ready handles events of the socket, which nobody reads.
func (p *parked) ready(ev Events) {
	if p.conn.note(ev); p.conn.HungUp() {
		p.end()
	}
}

// end closes the connection and calls gone.
func (p *parked) end() {
	p.leave()
	p.conn.Close()
	p.loop.Free(p.slot)
	p.gone()
}

func (p *parked) leave() {
	p.over = true
	delete(p.loop.parked, p.slot)
}

// Resume implements transport.Parked.
func (p *parked) Resume() {
	p.loop.Post(func() {
		switch {
		case p.over:
		case p.loop.stop:
			p.end() // the tasks may have been unwound already
		default:
			p.leave()
			p.loop.startAt(p.slot, p.conn, p.resume)
		}
	})
}

// Close implements transport.Parked.
func (p *parked) Close() {
	p.loop.Post(func() {
		if !p.over {
			p.leave()
			p.conn.Close()
			p.loop.Free(p.slot)
		}
	})
}

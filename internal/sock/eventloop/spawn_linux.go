package eventloop

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// Spawn runs serve in a task that begins without a connection; parent is for
// Group.Dial only. kill makes all calls fail that wait in the task, so that serve
// has returned when kill returns; after that, kill does nothing. Neither may be
// called by a task. If ok is false, the loop is ending and serve never runs.
func (l *Loop) Spawn(serve func(parent transport.Conn)) (kill func(), ok bool) {
	if l.stop {
		return nil, false // the tasks may have been unwound already
	}
	t := l.takeTask()
	ended := false
	t.slot = l.slots.take()
	l.slots.at(t.slot).task = t.index
	t.serve = func(c transport.Conn) {
		defer func() { ended = true }()
		serve(c)
	}
	t.conns = [2]Conn{session.Client: {task: t, fd: -1, side: session.Client, noSocket: true}, session.Backend: {fd: -1}}
	t.resume()
	return func() {
		if !ended {
			t.kill()
		}
	}, true
}

// ReleaseDialled takes from a task the connection that it dialled. The caller owns
// the socket; c must not be used any more. The loop ignores the socket's events
// until Attach.
func (l *Loop) ReleaseDialled(c transport.Conn) (Socket, error) {
	b, ok := c.(*Conn)
	if !ok || b.fd < 0 || b.side != session.Backend || b.task.loop != l {
		return Socket{}, fmt.Errorf("eventloop: %T is not an open connection that was dialled on this loop", c)
	}
	return b.release(), nil
}

func (c *Conn) release() Socket {
	s := Socket{FD: c.fd, Readable: c.hints&(hintReadable|hintEnded) != 0, Ended: c.hints&hintEnded != 0, Early: c.first}
	c.fd, c.first = -1, nil
	return s
}

// Attach makes s, which ReleaseDialled returned, a side of an owned slot. Events
// that came for it since come again. It must be called in Owner.Again: otherwise
// an event of this batch that was for the side's former socket could still come,
// and would be taken for one of s.
func (l *Loop) Attach(s Socket, slot int32, side session.Side) error {
	tag := unix.EpollEvent{Fd: slot<<1 | int32(side), Pad: int32(l.slots.at(slot).gen)}
	if e := epollMod(l.ep, s.FD, tag); e != 0 {
		return errors.Join(errors.New("eventloop: cannot watch a socket as another"), e)
	}
	return nil
}

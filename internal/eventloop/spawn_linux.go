package eventloop

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// Spawn runs serve in a task that begins without a connection: near is for
// Group.Dial alone. It must not be called from a task. kill has everything
// that waits in the task fail, so that serve has returned when kill has; it
// does nothing after that, and must not be called from a task either. With ok
// false the loop is ending, and serve never runs.
func (l *Loop) Spawn(serve func(near transport.Conn)) (kill func(), ok bool) {
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
	t.conns = [2]Conn{session.Client: {task: t, fd: -1, side: session.Client, bare: true}, session.Backend: {fd: -1}}
	t.resume()
	return func() {
		if !ended {
			t.kill()
		}
	}, true
}

// ReleaseDialled ends a task's hold on the connection it dialled, which is
// spent: its socket is the caller's. It stays watched by the loop, in vain,
// until Take.
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

// Take makes s, which ReleaseDialled gave, a side of an owned slot. What came
// for it since is told again, so that it is to be taken for readable. No event
// of this batch may be still to come, or one that was for the side's former
// socket would be told of this one: it is for Owner.Again.
func (l *Loop) Take(s Socket, slot int32, side session.Side) error {
	tag := unix.EpollEvent{Fd: slot<<1 | int32(side), Pad: int32(l.slots.at(slot).gen)}
	if e := epollMod(l.ep, s.FD, tag); e != 0 {
		return errors.Join(errors.New("eventloop: cannot watch a socket as another"), e)
	}
	return nil
}

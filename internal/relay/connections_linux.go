package relay

import (
	"net"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
)

// closedFD is in place of a socket that was closed before the end of its
// session.
const closedFD = -1

// The rest of connections, see io_linux.go for send, count and resume.

func (el *epollLoop) discard(slot int32, r *record, s session.Side) {
	if h := &r.sides[s]; h.pending != 0 {
		el.backlog.drop(h.pending)
		h.pending = 0
	}
	if side := el.tls.of(slot, s); side != nil {
		side.state.Mute() // the peer must see that something is missing
	}
}

func (el *epollLoop) shutdown(slot int32, r *record, s session.Side) {
	if fd := r.sides[s].fd; fd != closedFD {
		if r.marks&hasTLS != 0 {
			el.closeNotify(slot, r, s)
		}
		eventloop.ShutdownWrite(fd)
	}
}

// hangUp closes the socket. Events that are pending for it find it lost.
func (el *epollLoop) hangUp(slot int32, r *record, s session.Side) {
	if h := &r.sides[s]; h.fd != closedFD {
		if r.marks&hasTLS != 0 {
			el.closeNotify(slot, r, s)
			el.tls.drop(slot, s)
		}
		eventloop.CloseFD(h.fd)
		h.fd = closedFD
	}
}

func (el *epollLoop) probe(_ int32, r *record, c net.KeepAliveConfig) {
	for i := range r.sides {
		if fd := r.sides[i].fd; fd != closedFD {
			eventloop.Probe(fd, c)
		}
	}
}

func (el *epollLoop) schedule(slot int32, _ *record, at eventloop.Tick) { el.Arm(slot, at) }

func (el *epollLoop) hasten(slot int32, _ *record, at eventloop.Tick) { el.ArmBy(slot, at) }

func (el *epollLoop) budget(slot int32) *budget { return el.budgets.of(slot) }

func (el *epollLoop) waiting(_ int32, r *record, s session.Side) eventloop.Tick {
	return el.backlog.since(r.sides[s].pending)
}

func (el *epollLoop) enqueue(slot int32, ahead bool) {
	el.queue.join(slot, ahead)
	el.CallAgain()
}

func (el *epollLoop) leaveQueue() {
	if el.queue.leave() {
		el.CallAgain()
	}
}

// advanceSoon calls advance in Again: no task runs there, and no event of the batch is
// still to come, as Loop.Attach requires.
func (el *epollLoop) advanceSoon(slot int32) {
	el.woken = append(el.woken, slot)
	el.CallAgain()
}

func (el *epollLoop) spawn(_ int32, work func(parent transport.Conn), done func()) (cancel func(), ok bool) {
	return el.Spawn(func(parent transport.Conn) {
		defer done() // the loop recovers from a panic of work
		work(parent)
	})
}

// dialledSocket is dialled on a loop.
type dialledSocket struct {
	eventloop.Socket
	tls  tlsconn.Released
	loop *epollLoop
}

// Close implements dialled. It is called on the loop.
func (d *dialledSocket) Close() error {
	if state := &d.tls.State; !state.IsZero() {
		layer := d.loop.tls.records()
		eventloop.Send(d.FD, layer.SealAlert(state, nil, tlsrec.AlertCloseNotify))
		layer.Forget(state)
	}
	eventloop.CloseFD(d.FD)
	return nil
}

func (el *epollLoop) release(_, c transport.Conn) (dialled, error) {
	socket, err := socketOf(c)
	if err != nil {
		return nil, err
	}
	s, err := el.ReleaseDialled(socket)
	if err != nil {
		return nil, err
	}
	return &dialledSocket{s, released(c), el}, nil
}

func (el *epollLoop) attach(slot int32, r *record, d dialled) (early []byte, err error) {
	s, above := d.(*dialledSocket).Socket, d.(*dialledSocket).tls
	if err := el.Attach(s, slot, session.Backend); err != nil {
		return nil, err
	}
	b := &r.sides[session.Backend]
	el.hangUp(slot, r, session.Backend)
	el.discard(slot, r, session.Backend)
	b.fd = s.FD
	el.times.limitUnsentFD(s.FD)
	b.flags = b.flags&^(isEnded|isAgain) | isReadable
	if s.Ended {
		b.flags |= isEnded
	}
	if el.secure(slot, r, session.Backend, above.State); above.State.IsZero() {
		return s.Early, nil
	}
	// It may say that the connection is over, and attach can't fail any more.
	if above.Err != nil {
		el.tls.keepEnd(slot, session.Backend, el.tls.of(slot, session.Backend), above.Err)
	} else {
		el.keepEarly(slot, session.Backend, append(above.Cipher, s.Early...))
	}
	return above.Plain, nil
}

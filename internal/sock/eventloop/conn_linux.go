package eventloop

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

var (
	errClosed   = net.ErrClosed
	errDeadline = os.ErrDeadlineExceeded
)

// Conn is a transport.Conn on a loop. It lives as long as its task.
type Conn struct {
	task     *task
	fd       int32 // -1 once closed, detached or released
	side     session.Side
	hints    hints
	noSocket bool // there never was one, see Loop.Spawn
	halfOpen bool // see KeepHalfClosed
	deadline Tick
	tls      *transport.TLS   // see transport.Meta
	front    *transport.Front // likewise
	first    []byte           // to be read before the socket
	listener *transport.ListenerSpec
	remote   netip.AddrPort
	local    netip.AddrPort // looked up when asked for
}

// hints are what is known of a socket from edge-triggered events.
type hints uint8

const (
	hintReadable hints = 1 << iota // a read may return something
	hintWritable
	hintEnded // the peer will send nothing more
	hintReset // nor take anything
)

func (c *Conn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	for {
		if c.fd < 0 {
			return 0, errClosed
		}
		if c.hints&hintReadable != 0 {
			n, e := Recv(c.fd, p)
			switch {
			case e == syscall.EAGAIN:
				c.hints &^= hintReadable
			case e != 0:
				return 0, e
			case n == 0 && len(p) > 0:
				return 0, io.EOF
			default:
				// A short read has emptied an edge-triggered socket, and
				// the next bytes bring a new event. The end doesn't.
				if n < len(p) && c.hints&hintEnded == 0 {
					c.hints &^= hintReadable
				}
				return n, nil
			}
		}
		if c.side == session.Backend && c.client().HungUp() {
			return 0, transport.ErrHungUp
		}
		if err := c.task.wait(c.side, c.due()); err != nil {
			if err == errDeadline && c.hints&hintReadable != 0 {
				continue // a busy loop saw the bytes and the deadline at once
			}
			return 0, err
		}
	}
}

func (c *Conn) Write(p []byte) (int, error) {
	for done := 0; ; {
		if c.fd < 0 {
			return done, errClosed
		}
		n, e := Send(c.fd, p[done:])
		done += n
		if e != 0 && e != syscall.EAGAIN {
			return done, e
		}
		if done == len(p) {
			return done, nil
		}
		c.hints &^= hintWritable
		for c.hints&hintWritable == 0 {
			if err := c.task.wait(c.side, c.due()); err != nil {
				return done, err
			}
		}
	}
}

// WriteNow writes as much of p as the socket takes at once. It never waits.
func (c *Conn) WriteNow(p []byte) (int, error) {
	if c.fd < 0 {
		return 0, errClosed
	}
	n, e := Send(c.fd, p)
	switch {
	case e != 0 && e != syscall.EAGAIN:
		return n, e
	case n < len(p):
		return n, errDeadline
	}
	return n, nil
}

func (c *Conn) client() *Conn { return &c.task.conns[session.Client] }

// due is the deadline for task.wait.
func (c *Conn) due() Tick {
	if c.deadline == 0 {
		return Never
	}
	return c.deadline
}

func (c *Conn) SetDeadline(t time.Time) error {
	c.deadline = 0
	if !t.IsZero() {
		// At least 1: a deadline before the loops began has passed as well.
		c.deadline = max(1, Ticks(t.Sub(c.task.loop.began)))
	}
	return nil
}

func (c *Conn) HungUp() bool {
	if c.halfOpen {
		return c.hints&hintReset != 0
	}
	return c.hints&hintEnded != 0
}

// KeepHalfClosed implements transport.KeepHalfClosed.
func (c *Conn) KeepHalfClosed() { c.halfOpen = true }

// note records events as hints.
func (c *Conn) note(ev Events) {
	if ev.Readable() {
		c.hints |= hintReadable
	}
	if ev.Writable() {
		c.hints |= hintWritable
	}
	if ev.Ended() {
		c.hints |= hintEnded
	}
	if ev.Reset() {
		c.hints |= hintReset
	}
}

func (c *Conn) CloseWrite() error {
	if c.fd < 0 {
		return errClosed
	}
	ShutdownWrite(c.fd)
	return nil
}

func (c *Conn) Close() error {
	if c.fd >= 0 {
		closeFD(c.fd)
		c.fd = -1
	}
	return nil
}

func (c *Conn) Meta() transport.Meta {
	return transport.Meta{Listener: c.listener, Peer: c.remote, Local: c.LocalAddr(), TLS: c.tls, Front: c.front}
}

// Introduce is for transport.Introduce.
func (c *Conn) Introduce(m transport.Meta, unread []byte) {
	c.remote, c.local, c.front = m.Peer, m.Local, m.Front
	if len(unread) > 0 {
		c.first = append(unread, c.first...)
	}
}

func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

func (c *Conn) LocalAddr() netip.AddrPort {
	if !c.local.IsValid() && c.fd >= 0 {
		c.local = localAddr(c.fd)
	}
	return c.local
}

// Detach duplicates the descriptor into Go's poller, which is the only way that
// net offers. So it must remove the original from our epoll instance itself.
func (c *Conn) Detach() (net.Conn, error) {
	if c.fd < 0 {
		return nil, errClosed
	}
	epollDel(c.task.loop.ep, c.fd)
	f := os.NewFile(uintptr(c.fd), "")
	c.fd = -1
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("detach: %w", err)
	}
	return nc, nil
}

// Socket is one side of a slot, as its owner gets it.
type Socket struct {
	FD       int32
	Readable bool   // there may be bytes for which no event will come
	Ended    bool   // see Events.Ended
	Early    []byte // bytes that come before those of the socket
}

// Release transfers the sockets of client, and of the backend that was dialled in
// its task, to the loop's Owner, as the two sides of slot. Both Conns must not be
// used any more. Release fails if they are not such a pair.
func Release(client, backend transport.Conn) (l *Loop, slot int32, socks [2]Socket, err error) {
	c, ok1 := client.(*Conn)
	b, ok2 := backend.(*Conn)
	if !ok1 || !ok2 || c.task != b.task || c.side != session.Client || b.side != session.Backend || c.fd < 0 || b.fd < 0 {
		return nil, 0, socks, fmt.Errorf("eventloop: %T and %T are not a pair of open connections", client, backend)
	}
	t := c.task
	l, slot = t.loop, t.slot
	for i := range t.conns {
		socks[i] = t.conns[i].release()
	}
	l.slots.at(slot).task = nobody
	t.slot = nobody
	l.Disarm(slot)
	return l, slot, socks, nil
}

// CloseFD closes a socket that Release gave.
func CloseFD(fd int32) { closeFD(fd) }

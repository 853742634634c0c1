package eventloop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/sock/unixsock"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Group is the loops of one process. It is a transport.Network.
type Group struct {
	loops []*Loop
	log   *slog.Logger
	next  atomic.Uint32 // for start, in turn
	close sync.Once
	spare bool // guarded by procs

	mu        sync.Mutex // guards the following
	listening int        // numbers given to listeners
}

// NewGroup starts n loops, with spare processors. owner makes the Owner of each
// loop.
func NewGroup(n int, log *slog.Logger, owner func(*Loop) Owner) (*Group, error) {
	g := &Group{log: log}
	began := time.Now()
	for range n {
		l, err := newLoop(log, began)
		if err != nil {
			for _, l := range g.loops {
				l.closeFDs()
			}
			return nil, err
		}
		g.loops = append(g.loops, l)
		l.owner = owner(l)
	}
	g.SpareProcessors(true)
	for _, l := range g.loops {
		go l.run()
	}
	return g, nil
}

// Close ends all loops: it closes the listeners and all sockets, and unwinds the
// tasks. It returns when everything is done and must not be called on a loop.
func (g *Group) Close() { g.close.Do(g.closeOnce) }

func (g *Group) closeOnce() {
	for _, l := range g.loops {
		l.Post(func() { l.stop = true })
	}
	for _, l := range g.loops {
		<-l.done
	}
	g.SpareProcessors(false)
}

// Each runs f on one loop after another, and waits. It must not be called on a
// loop.
func (g *Group) Each(f func(i int, l *Loop)) {
	for i := range g.loops {
		g.On(i, f)
	}
}

// On is Each for loop i only. It reports false if f has not run, since the loop
// has ended.
func (g *Group) On(i int, f func(i int, l *Loop)) bool {
	l, done := g.loops[i], make(chan struct{})
	if !l.Post(func() { defer close(done); f(i, l) }) {
		return false
	}
	<-done
	return true
}

// Dial implements transport.Network. If no socket can be made (no descriptor is
// left), that is an error like a refused connection.
func (g *Group) Dial(parent transport.Conn, addr hostport.Endpoint, deadline time.Time) (transport.Conn, error) {
	client, ok := transport.Socket(parent).(*Conn)
	if !ok || client.fd < 0 && !client.noSocket {
		return nil, fmt.Errorf("dial %s: %T is not an open connection of this network", addr, parent)
	}
	t := client.task
	b := &t.conns[session.Backend]
	if b.fd >= 0 {
		return nil, fmt.Errorf("dial %s: another connection is open", addr)
	}
	fd, err := connect(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	*b = Conn{task: t, fd: fd, side: session.Backend, remote: addr.TCP}
	if addr.IsUnix() {
		b.remote = hostport.UnixPeer
	}
	b.SetDeadline(deadline)
	if err := b.awaitConnect(); err != nil {
		b.Close()
		if errors.Is(err, transport.ErrHungUp) {
			return nil, err
		}
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return b, nil
}

// awaitConnect watches c and returns when it is connected. Over a local or a fast
// network it is connected at the first check, which saves an iteration of the
// loop.
func (c *Conn) awaitConnect() error {
	t := c.task
	e := connected(c.fd)
	if err := t.loop.watch(t.slot, session.Backend, c.fd); err != nil {
		return err
	}
	for e == syscall.EAGAIN {
		c.hints &^= hintWritable
		if err := t.wait(session.Backend, c.due()); err != nil {
			return err
		}
		if c.client().HungUp() {
			return transport.ErrHungUp
		}
		if c.hints&hintWritable != 0 {
			e = connected(c.fd)
		}
	}
	if e != 0 {
		return e
	}
	c.hints |= hintWritable
	return nil
}

// Adopt implements transport.Network. It spreads connections evenly over the
// loops.
func (g *Group) Adopt(c net.Conn, meta transport.Meta, first []byte, serve func(transport.Conn)) error {
	tc, ok := c.(interface {
		net.Conn
		File() (*os.File, error)
	})
	if !ok {
		return fmt.Errorf("adopt: %T is not a socket", c)
	}
	f, err := tc.File()
	if err != nil {
		return fmt.Errorf("adopt: %w", err)
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("adopt: %w", err)
	}
	unix.SetNonblock(fd, true) // File made it blocking
	conn := Conn{fd: int32(fd), first: first, listener: meta.Listener, tls: meta.TLS, front: meta.Front, remote: meta.Peer, local: meta.Local}
	if !conn.remote.IsValid() {
		conn.remote = transport.AddrPort(tc.RemoteAddr())
	}
	if !g.start(conn, serve) {
		unix.Close(fd)
		return fmt.Errorf("adopt: %w", errClosed)
	}
	tc.Close()
	return nil
}

// start runs serve for c on one loop after another. If it reports false, the group is
// closed, and c is still the caller's.
func (g *Group) start(c Conn, serve func(transport.Conn)) bool {
	l := g.loops[int(g.next.Add(1))%len(g.loops)]
	return l.Post(func() { l.start(c, serve) })
}

func zoneIndex(zone string) (uint32, bool) {
	if zone == "" {
		return 0, false
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), true
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, false
	}
	return uint32(ifi.Index), true
}

// listenSockets binds n sockets to one address, over which the kernel spreads the
// connections (SO_REUSEPORT). That option would also let a second balancer share
// the port unnoticed. So listenSockets first binds without it, which fails if
// another process listens there.
func listenSockets(address string, n int) (fds []int, bound netip.AddrPort, err error) {
	probe, err := net.Listen("tcp", address)
	if err != nil {
		return nil, bound, err
	}
	bound = transport.AddrPort(probe.Addr())
	address = probe.Addr().String()
	probe.Close()
	defer func() {
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
	}()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
				// Accepted sockets inherit it.
				unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
		}), err)
	}}
	for range n {
		ln, err := lc.Listen(context.Background(), "tcp", address)
		if err != nil {
			return fds, bound, err
		}
		fd, err := takeFD(ln.(*net.TCPListener))
		if err != nil {
			return fds, bound, err
		}
		fds = append(fds, fd)
	}
	return fds, bound, nil
}

// listenUnix is unixsock.Listen with a descriptor.
func listenUnix(path string, mode fs.FileMode) (fd int, remove func(), err error) {
	ln, remove, err := unixsock.Listen(path, mode)
	if err != nil {
		return -1, nil, err
	}
	if fd, err = takeFD(ln); err != nil {
		remove()
	}
	return fd, remove, err
}

// duplicate returns a non-blocking duplicate of a given socket.
func duplicate(g *transport.Given) (fd int, bound netip.AddrPort, err error) {
	fd = -1
	c, err := g.File.SyscallConn()
	if err != nil {
		return fd, bound, err
	}
	err2 := c.Control(func(from uintptr) {
		if fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return
		}
		unix.SetNonblock(fd, true)
		// Accepted sockets inherit it. There is no such thing for a unix socket.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	})
	if hostport.IsUnix(g.Address) {
		bound = hostport.UnixPeer
	} else if at, parseErr := netip.ParseAddrPort(g.Address); parseErr == nil {
		bound = at
	}
	return fd, bound, errors.Join(err, err2)
}

// takeFD returns the non-blocking descriptor of a listener, which it closes.
func takeFD(ln interface {
	io.Closer
	File() (*os.File, error)
}) (int, error) {
	f, err := ln.File()
	ln.Close()
	if err != nil {
		return -1, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		unix.SetNonblock(fd, true)
	}
	return fd, err
}

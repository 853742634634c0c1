package eventloop

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// acceptBatch bounds how long a burst of connections keeps a loop from its
// sessions. The listening socket is level-triggered, so its event comes again.
const acceptBatch = 64

// listener is one address on all loops.
type listener struct {
	group  *Group
	number int
	bound  netip.AddrPort
	spec   *atomic.Pointer[transport.ListenerSpec]
	close  sync.Once
	remove func() // removes the file of a unix socket; nil for TCP
	given  bool   // another process has the socket, too
}

// loopListener is a listener's socket on one loop.
type loopListener struct {
	loop   *Loop
	number int
	fd     int
	serve  func(transport.Conn)
	spec   *atomic.Pointer[transport.ListenerSpec] // shared by all loops
	local  netip.AddrPort                          // every connection's; invalid on a wildcard address
	spread *Group                                  // gets the connections; nil if they stay on loop
	closed bool
	full   time.Time // when accept last failed for lack of descriptors
}

// Listen implements transport.Network, with a socket of its own for each loop. Of a unix
// socket there can be only one, and of a given one there is only one. It is on the first
// loop, which spreads the connections.
func (g *Group) Listen(spec transport.ListenerSpec, serve func(transport.Conn)) (transport.Listener, error) {
	ln := &listener{group: g, spec: new(atomic.Pointer[transport.ListenerSpec])}
	ln.SetSpec(spec)
	var fds []int
	var spread *Group
	a, err := hostport.ParseListen(spec.Address, "")
	if spec.Given != nil {
		fds, spread, ln.given = []int{-1}, g, true
		fds[0], ln.bound, err = duplicate(spec.Given)
	} else if err == nil && a.Path != "" {
		fds, ln.bound, spread = []int{-1}, hostport.UnixPeer, g
		fds[0], ln.remove, err = listenUnix(a.Path, spec.SocketMode)
	} else {
		fds, ln.bound, err = listenSockets(spec.Address, len(g.loops))
	}
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	ln.number = g.listening
	g.listening++
	g.mu.Unlock()
	served := 0
	g.Each(func(i int, l *Loop) {
		if l.stop || i >= len(fds) {
			return
		}
		ll := &loopListener{loop: l, number: ln.number, fd: fds[i], serve: serve, spec: ln.spec, spread: spread}
		if !ln.bound.Addr().IsUnspecified() {
			ll.local = ln.bound
		}
		l.listeners[ln.number] = ll
		ll.watch()
		fds[i] = -1
		served++
	})
	if served < len(fds) { // the group is being closed
		for _, fd := range fds {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
		if ln.remove != nil {
			ln.remove()
		}
		return nil, fmt.Errorf("listen on %s: %w", spec.Address, errClosed)
	}
	return ln, nil
}

func (ln *listener) Addr() netip.AddrPort { return ln.bound }

func (ln *listener) SetSpec(spec transport.ListenerSpec) { ln.spec.Store(&spec) }

// Close first accepts the connections that the kernel has already completed, so
// that those clients are served and not reset. Those of a given socket stay in the kernel
// until whoever has it accepts them.
func (ln *listener) Close() error {
	ln.close.Do(func() {
		if ln.remove != nil {
			ln.remove()
		}
		ln.group.Each(func(_ int, l *Loop) {
			if ll := l.listeners[ln.number]; ll != nil {
				if !ln.given {
					ll.acceptAll()
				}
				ll.close()
			}
		})
	})
	return nil
}

func (ll *loopListener) watch() {
	if ll.closed {
		return
	}
	err := unix.EpollCtl(ll.loop.ep, unix.EPOLL_CTL_ADD, ll.fd,
		&unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(tagListen - ll.number)})
	if err != nil {
		ll.loop.log.Error("cannot watch a listening socket", "error", err)
	}
}

func (ll *loopListener) close() {
	ll.closed = true
	delete(ll.loop.listeners, ll.number)
	unix.Close(ll.fd)
}

func (ll *loopListener) ready() {
	for range acceptBatch {
		if !ll.acceptOne() {
			return
		}
	}
}

func (ll *loopListener) acceptAll() {
	for ll.acceptOne() {
	}
}

// acceptOne reports whether there may be more.
func (ll *loopListener) acceptOne() bool {
	if ll.closed {
		return false
	}
	fd, remote, e := accept(ll.fd)
	switch e {
	case 0:
		c := Conn{fd: fd, listener: ll.spec.Load(), remote: remote, local: ll.local}
		switch {
		case ll.spread == nil:
			ll.loop.start(c, ll.serve)
		case !ll.spread.start(c, ll.serve):
			closeFD(fd)
		}
		return true
	case syscall.EAGAIN:
		return false
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
		ll.rest(e)
		return false
	default:
		// The connection failed before it was accepted, accept(2).
		return e == syscall.EINTR || e == syscall.ECONNABORTED || e == syscall.EPROTO
	}
}

// rest stops accepting for a moment when the process has no descriptor left.
// Otherwise the loop would spin on the level-triggered socket.
func (ll *loopListener) rest(cause error) {
	if time.Since(ll.full) > 10*time.Second {
		ll.full = time.Now()
		ll.loop.log.Error("cannot accept connections; they wait in the kernel", "error", cause)
	}
	epollDel(ll.loop.ep, int32(ll.fd))
	time.AfterFunc(100*time.Millisecond, func() { ll.loop.Post(ll.watch) })
}

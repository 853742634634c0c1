// Package gonet is transport.Network on Go's net package: a goroutine for each
// connection, on every system that Go runs on.
package gonet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/transport"
)

// Network runs tasks on goroutines. The zero value is not ready; see New.
type Network struct {
	log  *slog.Logger
	done chan struct{} // closed by Close

	mu     sync.Mutex // guards the following
	conns  map[*Conn]struct{}
	lns    map[*listener]struct{}
	closed bool
	tasks  sync.WaitGroup
}

// New makes a Network; Close ends it.
func New(log *slog.Logger) *Network {
	return &Network{log: log, done: make(chan struct{}), conns: map[*Conn]struct{}{}, lns: map[*listener]struct{}{}}
}

// Close closes all listeners and the connections of all tasks, and returns
// when the tasks have ended.
func (n *Network) Close() {
	n.mu.Lock()
	if !n.closed {
		n.closed = true
		close(n.done)
	}
	for c := range n.conns {
		c.nc.Close()
	}
	var lns []*listener
	for ln := range n.lns {
		lns = append(lns, ln)
	}
	n.mu.Unlock()
	for _, ln := range lns {
		ln.Close()
	}
	n.tasks.Wait()
}

// Conn is a transport.Conn around one of Go's.
type Conn struct {
	nc    net.Conn
	net   *Network
	first []byte
	gone  bool // detached
}

func (n *Network) wrap(nc net.Conn, first []byte) (*Conn, error) {
	c := &Conn{nc: nc, net: n, first: first}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, net.ErrClosed
	}
	n.conns[c] = struct{}{}
	return c, nil
}

func (n *Network) forget(c *Conn) {
	n.mu.Lock()
	delete(n.conns, c)
	n.mu.Unlock()
}

// Read implements transport.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.nc.Read(p)
}

// Write implements transport.Conn.
func (c *Conn) Write(p []byte) (int, error) { return c.nc.Write(p) }

// SetDeadline implements transport.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.nc.SetDeadline(t) }

// HungUp implements transport.Conn; Go tells of a peer's end only to who reads.
func (c *Conn) HungUp() bool { return false }

// CloseWrite implements transport.Conn.
func (c *Conn) CloseWrite() error {
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements transport.Conn.
func (c *Conn) Close() error {
	if c.gone {
		return nil
	}
	c.net.forget(c)
	return c.nc.Close()
}

// Detach implements transport.Conn.
func (c *Conn) Detach() (net.Conn, error) {
	if c.gone {
		return nil, net.ErrClosed
	}
	c.gone = true
	c.net.forget(c)
	// Network.Close may have closed it a moment ago. Who takes it over learns
	// that from its first Read, as of any connection that was cut.
	if err := c.nc.SetDeadline(time.Time{}); err != nil && !errors.Is(err, net.ErrClosed) {
		c.nc.Close()
		return nil, err
	}
	return c.nc, nil
}

// First is what was to be read before the connection's own bytes and has not
// been read.
func (c *Conn) First() []byte { return c.first }

// LocalAddr implements transport.Conn.
func (c *Conn) LocalAddr() netip.AddrPort { return addrPort(c.nc.LocalAddr()) }

// RemoteAddr implements transport.Conn.
func (c *Conn) RemoteAddr() netip.AddrPort { return addrPort(c.nc.RemoteAddr()) }

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Dial implements transport.Network.
func (n *Network) Dial(near transport.Conn, addr netip.AddrPort, deadline time.Time) (transport.Conn, error) {
	ctx := context.Background()
	bare, _ := near.(*Near)
	if bare != nil {
		ctx = bare.ctx
	}
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	var d net.Dialer
	d.KeepAlive = -1 // the balancer's own pings see to that
	nc, err := d.DialContext(ctx, "tcp", addr.String())
	if errors.Is(err, context.DeadlineExceeded) { // as net has it; it is not os.ErrDeadlineExceeded
		return nil, fmt.Errorf("dial %s: %w", addr, os.ErrDeadlineExceeded)
	}
	if err != nil {
		return nil, err
	}
	c, err := n.wrap(nc, nil)
	if err != nil {
		nc.Close()
		return nil, err
	}
	if bare != nil {
		bare.beside(nc)
	}
	return c, nil
}

// Adopt implements transport.Network.
func (n *Network) Adopt(nc net.Conn, first []byte, serve func(transport.Conn)) error {
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("adopt: %w", err)
	}
	if !n.start(nc, first, serve) {
		return fmt.Errorf("adopt: %w", net.ErrClosed)
	}
	return nil
}

// start runs serve in a goroutine, or reports that the network is closed; nc
// is the caller's then.
func (n *Network) start(nc net.Conn, first []byte, serve func(transport.Conn)) bool {
	c, err := n.wrap(nc, first)
	if err != nil {
		return false
	}
	n.tasks.Go(func() { c.run(serve) })
	return true
}

// run is a task.
func (c *Conn) run(serve func(transport.Conn)) {
	defer func() {
		if p := recover(); p != nil {
			c.net.log.Error("panic in a handshake; its connection is closed", "panic", p, "stack", string(debug.Stack()))
		}
		c.Close()
	}()
	serve(c)
}

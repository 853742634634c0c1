// Package netconn is a transport.Network on Go's net package: one goroutine for
// each connection, on every system that Go runs on. The portable engine
// (internal/relay) uses it.
package netconn

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

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Network runs tasks on goroutines. Use New to make one.
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

// Close closes all listeners and the connections of all tasks. It returns when
// the tasks have ended.
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
	nc       net.Conn
	net      *Network
	meta     transport.Meta // as given; addresses that are not set are the socket's
	first    []byte
	gone     bool // detached
	deadline time.Time
	parent   *Conn // whose task dialled it; nil for others
	hungUp   bool  // its peer is known to have gone
	halfOpen bool  // see KeepHalfClosed
}

func (n *Network) wrap(nc net.Conn, meta transport.Meta, first []byte) (*Conn, error) {
	c := &Conn{nc: nc, net: n, meta: meta, first: first}
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
	if c.parent == nil || c.parent.gone {
		return c.nc.Read(p)
	}
	// A task that waits for a backend also watches its client.
	stop := c.parent.watch(func() { c.nc.SetReadDeadline(time.Unix(1, 0)) })
	n, err := c.nc.Read(p)
	stop()
	if !c.parent.hungUp {
		return n, err
	}
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		err = transport.ErrHungUp
	}
	c.nc.SetReadDeadline(c.deadline)
	return n, err
}

// Write implements transport.Conn.
func (c *Conn) Write(p []byte) (int, error) { return c.nc.Write(p) }

// SetDeadline implements transport.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	c.deadline = t
	return c.nc.SetDeadline(t)
}

// HungUp implements transport.Conn. It is known only for the client of a task
// that has waited for its backend.
func (c *Conn) HungUp() bool { return c.hungUp }

// KeepHalfClosed implements transport.KeepHalfClosed.
func (c *Conn) KeepHalfClosed() { c.halfOpen = true }

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
	// Network.Close may have closed it a moment ago. The caller learns that from
	// its first Read, as for any connection that was cut.
	if err := c.nc.SetDeadline(time.Time{}); err != nil && !errors.Is(err, net.ErrClosed) {
		c.nc.Close()
		return nil, err
	}
	return c.nc, nil
}

// First is what must be read before the connection's own bytes, and has not been
// read yet.
func (c *Conn) First() []byte { return c.first }

// Meta implements transport.Conn.
func (c *Conn) Meta() transport.Meta {
	m := c.meta
	if !m.Peer.IsValid() {
		m.Peer = c.RemoteAddr()
	}
	if !m.Local.IsValid() {
		m.Local = c.LocalAddr()
	}
	return m
}

// Introduce is for transport.Introduce.
func (c *Conn) Introduce(m transport.Meta, unread []byte) {
	c.meta.Peer, c.meta.Local, c.meta.Front = m.Peer, m.Local, m.Front
	if len(unread) > 0 {
		c.first = append(unread, c.first...)
	}
}

// LocalAddr implements transport.Conn.
func (c *Conn) LocalAddr() netip.AddrPort { return transport.AddrPort(c.nc.LocalAddr()) }

// RemoteAddr implements transport.Conn.
func (c *Conn) RemoteAddr() netip.AddrPort { return transport.AddrPort(c.nc.RemoteAddr()) }

// Dial implements transport.Network.
func (n *Network) Dial(parent transport.Conn, addr hostport.Endpoint, deadline time.Time) (transport.Conn, error) {
	ctx := context.Background()
	parent = transport.Socket(parent)
	own, _ := parent.(*Parent)
	if own != nil {
		ctx = own.ctx
	}
	client, _ := parent.(*Conn)
	if client != nil && client.hungUp {
		return nil, transport.ErrHungUp
	}
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	var d net.Dialer
	d.KeepAlive = -1 // the balancer sends pings of its own
	stop := func() {}
	if client != nil && !client.gone {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		stop = client.watch(cancel)
	}
	network, address := addr.DialArgs()
	nc, err := d.DialContext(ctx, network, address)
	stop()
	if client != nil && client.hungUp && err != nil {
		return nil, transport.ErrHungUp
	}
	if errors.Is(err, context.DeadlineExceeded) { // net returns this, which is not os.ErrDeadlineExceeded
		return nil, fmt.Errorf("dial %s: %w", addr, os.ErrDeadlineExceeded)
	}
	if err != nil {
		return nil, err
	}
	c, err := n.wrap(nc, transport.Meta{}, nil)
	if err != nil {
		nc.Close()
		return nil, err
	}
	if own != nil {
		own.track(nc)
	}
	c.parent = client
	return c, nil
}

// Adopt implements transport.Network.
func (n *Network) Adopt(nc net.Conn, meta transport.Meta, first []byte, serve func(transport.Conn)) error {
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("adopt: %w", err)
	}
	if !n.start(nc, meta, first, serve) {
		return fmt.Errorf("adopt: %w", net.ErrClosed)
	}
	return nil
}

// start runs serve in a goroutine. It reports false if the network is closed; then
// the caller still owns nc.
func (n *Network) start(nc net.Conn, meta transport.Meta, first []byte, serve func(transport.Conn)) bool {
	c, err := n.wrap(nc, meta, first)
	if err != nil {
		return false
	}
	n.tasks.Go(func() { c.run(serve) })
	return true
}

// run is a task: it calls serve and closes the connection.
func (c *Conn) run(serve func(transport.Conn)) {
	defer func() {
		if p := recover(); p != nil {
			c.net.log.Error("panic in a handshake; its connection is closed", "panic", p, "stack", string(debug.Stack()))
		}
		c.Close()
	}()
	serve(c)
}

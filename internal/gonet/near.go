package gonet

import (
	"context"
	"net"
	"sync"
	"time"
)

// Near is a Conn without a peer, for Dial alone: what is dialled beside it
// lives no longer than it does, until the caller has Taken it over.
type Near struct {
	Conn
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards the following
	dialled net.Conn
	closed  bool
}

// Near makes one, which is to be closed.
func (n *Network) Near() *Near {
	a, b := net.Pipe()
	a.Close()
	b.Close()
	near := &Near{Conn: Conn{nc: a, net: n}}
	near.ctx, near.cancel = context.WithCancel(context.Background())
	return near
}

// SetDeadline does nothing.
func (c *Near) SetDeadline(time.Time) error { return nil }

// Close ends what waits in a Dial beside c, and closes the connection that was
// dialled last and not taken over. It may be called at any time.
func (c *Near) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.cancel()
	if c.dialled != nil {
		c.dialled.Close()
		c.dialled = nil
	}
	return nil
}

// Take has the connection dialled last go on without c.
func (c *Near) Take() {
	c.mu.Lock()
	c.dialled = nil
	c.mu.Unlock()
}

// beside notes what was dialled, or closes it where c is closed already.
func (c *Near) beside(nc net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dialled = nc; c.closed {
		nc.Close()
	}
}

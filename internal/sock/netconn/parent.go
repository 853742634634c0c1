package netconn

import (
	"context"
	"net"
	"sync"
	"time"
)

// Parent is a Conn without a peer, to be the parent of a Dial and for nothing
// else. A connection dialled with it is closed with it, until Release.
type Parent struct {
	Conn
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards the following
	dialled net.Conn
	closed  bool
}

// NewParent makes a Parent. The caller must close it.
func (n *Network) NewParent() *Parent {
	a, b := net.Pipe()
	a.Close()
	b.Close()
	p := &Parent{Conn: Conn{nc: a, net: n}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// SetDeadline does nothing.
func (p *Parent) SetDeadline(time.Time) error { return nil }

// Close ends a Dial that is under way, and closes the connection that was dialled
// last unless it was released. It may be called from any goroutine, at any time.
func (p *Parent) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.cancel()
	if p.dialled != nil {
		p.dialled.Close()
		p.dialled = nil
	}
	return nil
}

// Release makes the connection dialled last independent of p.
func (p *Parent) Release() {
	p.mu.Lock()
	p.dialled = nil
	p.mu.Unlock()
}

// track remembers a connection that was dialled, or closes it if p is closed.
func (p *Parent) track(nc net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dialled = nc; p.closed {
		nc.Close()
	}
}

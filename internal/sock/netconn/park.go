package netconn

import (
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// parked is a connection whose task has ended. A goroutine reads it, since Go
// reports a peer's end only to a reader. That goroutine becomes the next task.
type parked struct {
	conn   *Conn
	resume func(transport.Conn)
	gone   func()
	wake   chan struct{} // closed when state is no longer waiting

	mu    sync.Mutex // guards the following
	state parkState
}

type parkState uint8

const (
	waiting parkState = iota
	resumed
	closed
)

// Park implements transport.Conn.
func (c *Conn) Park(first []byte, resume func(transport.Conn), gone func()) (transport.Parked, error) {
	nc, err := c.Detach()
	if err != nil {
		return nil, err
	}
	n := c.net
	again, err := n.wrap(nc, c.meta, append(first, c.first...))
	if err != nil {
		nc.Close()
		return nil, err
	}
	again.halfOpen = c.halfOpen
	p := &parked{conn: again, resume: resume, gone: gone, wake: make(chan struct{})}
	n.tasks.Go(p.wait)
	return p, nil
}

// wait returns when the connection has no owner any more, which may be after the
// task that Resume started.
func (p *parked) wait() {
	p.watch()
	p.mu.Lock()
	if p.state == waiting {
		p.state = closed
		p.mu.Unlock()
		p.conn.Close()
		p.gone()
		return
	}
	goesOn := p.state == resumed
	p.mu.Unlock()
	if !goesOn {
		p.conn.Close()
		return
	}
	p.conn.nc.SetDeadline(time.Time{})
	p.conn.run(p.resume)
}

// watch returns after the peer has ended, or change or Network.Close was called.
func (p *parked) watch() {
	if p.conn.readAhead() != nil {
		return
	}
	select {
	case <-p.wake:
	case <-p.conn.net.done:
	}
}

// Resume implements transport.Parked.
func (p *parked) Resume() { p.change(resumed) }

// Close implements transport.Parked.
func (p *parked) Close() { p.change(closed) }

func (p *parked) change(to parkState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == waiting {
		p.state = to
		close(p.wake)
		p.conn.nc.SetReadDeadline(time.Unix(1, 0)) // wakes watch
	}
}

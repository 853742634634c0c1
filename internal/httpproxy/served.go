package httpproxy

import (
	"container/list"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/clientprefix"
)

// served is what connections with HTTP/1 and HTTP/2 have in common.
type served struct {
	net.Conn
	meta   transport.Meta
	server *Server
	of     *generation
	outer  io.Closer // the connection that it is part of

	mu      sync.Mutex    // guards the following
	idle    *list.Element // in idleConns.all
	idleOn  *list.Element // in one of idleConns.on
	idleOf  *list.Element // in one of idleConns.of
	closed  bool
	ended   bool // Server.connEnded was called
	stopped bool // nothing more is written
}

func (c *served) about() transport.Meta { return c.meta }

// Write writes as long as the client accepts bytes.
func (c *served) Write(p []byte) (n int, err error) {
	for {
		c.mu.Lock()
		if c.stopped {
			c.mu.Unlock()
			return n, os.ErrDeadlineExceeded
		}
		c.Conn.SetWriteDeadline(time.Now().Add(c.server.sendTimeout()))
		c.mu.Unlock()
		m, err := c.Conn.Write(p[n:])
		n += m
		if err == nil || m == 0 || !isTimeout(err) {
			return n, err
		}
	}
}

func (c *served) stopWriting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.Conn != nil {
		c.Conn.SetWriteDeadline(longAgo)
	}
}

// wake records that the client has sent something. It reports false if the
// connection was closed before.
func (c *served) wake() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		c.server.idle.remove(c)
	}
	return !c.closed
}

// closeIdle closes the connection if it waits for its next request.
func (c *served) closeIdle() bool {
	c.mu.Lock()
	if c.idle == nil {
		c.mu.Unlock()
		return false
	}
	c.server.idle.remove(c)
	c.closed = true // what the client sends now isn't read any more
	c.mu.Unlock()
	c.outer.Close()
	return true
}

// end is called when the connection was closed or hijacked.
func (c *served) end() {
	c.mu.Lock()
	first := !c.ended
	c.ended = true
	c.mu.Unlock()
	if first {
		c.server.connEnded(c)
	}
}

// idleConns are the connections that wait for their next request.
type idleConns struct {
	mu  sync.Mutex
	all list.List     // of *served, the longest idle first
	on  lists[string] // the same, by the name of the listener
	of  lists[uint64] // the same, by client
}

func (c *served) client() uint64 { return clientprefix.Number(c.meta.Peer.Addr()) }

func (i *idleConns) add(c *served) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	if c.idle == nil && !c.closed {
		c.idle = i.all.PushBack(c)
		c.idleOn = i.on.add(c.meta.ListenerName(), c)
		c.idleOf = i.of.add(c.client(), c)
	}
}

// remove is called with c.mu held.
func (i *idleConns) remove(c *served) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.all.Remove(c.idle)
	i.on.remove(c.meta.ListenerName(), c.idleOn)
	i.of.remove(c.client(), c.idleOf)
	c.idle, c.idleOn, c.idleOf = nil, nil, nil
}

func (i *idleConns) oldest() *served {
	i.mu.Lock()
	defer i.mu.Unlock()
	return front(&i.all)
}

func (i *idleConns) oldestOn(listener string) *served {
	i.mu.Lock()
	defer i.mu.Unlock()
	return front(i.on[listener])
}

func (i *idleConns) oldestOf(client netip.Addr) *served {
	i.mu.Lock()
	defer i.mu.Unlock()
	return front(i.of[clientprefix.Number(client)])
}

func front(l *list.List) *served {
	if l == nil {
		return nil
	}
	if e := l.Front(); e != nil {
		return e.Value.(*served)
	}
	return nil
}

// lists has a list for each key with connections: listeners and clients come and go.
type lists[K comparable] map[K]*list.List

func (l *lists[K]) add(key K, c *served) *list.Element {
	if *l == nil {
		*l = lists[K]{}
	}
	of := (*l)[key]
	if of == nil {
		of = list.New()
		(*l)[key] = of
	}
	return of.PushBack(c)
}

func (l lists[K]) remove(key K, e *list.Element) {
	if l[key].Remove(e); l[key].Len() == 0 {
		delete(l, key)
	}
}

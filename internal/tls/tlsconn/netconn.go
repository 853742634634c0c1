package tlsconn

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
)

// NetConn is what Detach returns: a net.Conn with TLS on it. It may be used like
// any net.Conn: one goroutine may read while another one writes, and any may set
// deadlines or close it.
//
// A Write that has failed by its deadline can be followed by another one, with the
// bytes beyond those that it has counted. A Write of no bytes sends what is left.
type NetConn struct {
	conn net.Conn
	link *link
	meta transport.Meta

	reading, writing sync.Mutex
	closed           atomic.Bool
}

// Facts are what the handshake has agreed on.
func (c *NetConn) Facts() *transport.TLS { return c.link.facts }

// Meta is that of the Conn that was detached.
func (c *NetConn) Meta() transport.Meta { return c.meta }

// NetConn returns the connection below, for its options. What is read of it or
// written to it breaks the connection.
func (c *NetConn) NetConn() net.Conn { return c.conn }

// Read is part of net.Conn. Its errors are those of Conn.
func (c *NetConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	n, err := c.link.read(p, c.conn.Read)
	if err != nil {
		if alert, ok := c.link.alertOf(); ok {
			c.end(alert)
		}
	}
	return n, err
}

// Write is part of net.Conn.
func (c *NetConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	return c.link.write(p, c.conn.Write)
}

// end sends an alert, unless a Write is under way or it would have to wait for long.
func (c *NetConn) end(alert uint8) {
	if c.writing.TryLock() {
		defer c.writing.Unlock()
		c.conn.SetWriteDeadline(time.Now().Add(closeWait))
		c.link.end(alert, c.conn.Write)
	}
}

// CloseWrite sends a close_notify, and then the end of the stream.
func (c *NetConn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.link.end(tlsrec.AlertCloseNotify, c.conn.Write); err != nil {
		return err
	}
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close is part of net.Conn. It sends a close_notify if the socket takes it.
func (c *NetConn) Close() error {
	if !c.closed.Swap(true) {
		c.end(tlsrec.AlertCloseNotify)
	}
	return c.conn.Close()
}

// LocalAddr is part of net.Conn.
func (c *NetConn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr is part of net.Conn.
func (c *NetConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// SetDeadline is part of net.Conn.
func (c *NetConn) SetDeadline(t time.Time) error { return c.conn.SetDeadline(t) }

// SetReadDeadline is part of net.Conn.
func (c *NetConn) SetReadDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// SetWriteDeadline is part of net.Conn.
func (c *NetConn) SetWriteDeadline(t time.Time) error { return c.conn.SetWriteDeadline(t) }

// Adopt is transport.Network.Adopt for any connection that Detach has returned: if
// it is a NetConn, serve gets a *Conn. No other goroutine may use nc. After an error
// the caller still owns nc.
func Adopt(n transport.Network, nc net.Conn, meta transport.Meta, first []byte, serve func(transport.Conn)) error {
	c, ok := nc.(*NetConn)
	if !ok {
		return n.Adopt(nc, meta, first, serve)
	}
	l := c.link
	before := l.first
	l.first = append(append(first[:len(first):len(first)], before...), l.plain.bytes()...)
	plain := l.plain
	l.plain = nil
	meta.TLS = l.facts
	err := n.Adopt(c.conn, meta, nil, func(inner transport.Conn) { serve(&Conn{inner: inner, link: l}) })
	if err != nil {
		l.first, l.plain = before, plain
		return err
	}
	plain.free()
	return nil
}

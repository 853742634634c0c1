// Package tlsconn is TLS on a transport.Conn: crypto/tls makes the handshake, and
// then package tlsrec has the records. The result is a transport.Conn again, which
// can be parked, detached and adopted like any other, and from which an engine
// takes the State of the records for its sessions.
//
// The secrets come from crypto/tls by tls.Config.KeyLogWriter, which it calls within
// the handshake. They are never written anywhere: KeyLogWriter is a method here that
// copies them into the State.
//
// The files are:
//
//   - handshake.go, config.go: a handshake, and its secrets
//   - wire.go, hello.go: what crypto/tls reads and writes, and what is learned from it
//   - resume.go: sessions that are resumed
//   - errors.go: handshakes that fail
//   - tlsconn.go: Conn; netconn.go: NetConn; link.go, buffer.go: records of both
package tlsconn

import (
	"net"
	"net/netip"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
)

// closeWait is how long a close_notify or an alert waits for a socket that takes no
// more bytes.
const closeWait = 50 * time.Millisecond

// Conn is a transport.Conn whose handshake is done. It owns the Conn below it.
//
// Read returns io.EOF after a close_notify. If the connection ends without one, a
// server gets io.EOF as well, unless that is within a record, since many clients send
// none. A client gets an error that is io.EOF and io.ErrUnexpectedEOF by errors.Is
// only: an answer that ends there may be incomplete.
type Conn struct {
	inner transport.Conn
	link  *link
	ended bool // c has nothing any more
}

var _ transport.Layer = (*Conn)(nil)

// Released is what is left of a Conn when an engine takes it over.
type Released struct {
	Inner transport.Conn
	State tlsrec.State
	// Plain was opened and not read. Cipher was read of Inner and not opened: the
	// beginning of a record, or more.
	Plain, Cipher []byte
	// Err is what follows Plain, if that is known already: io.EOF after a
	// close_notify, otherwise a *tlsrec.Error, whose alert may still have to be sent.
	// There is no Cipher then.
	Err error
}

// Release ends c and gives up what it has. c must be open.
func (c *Conn) Release() Released {
	l := c.link
	l.dropTickets()
	r := Released{Inner: c.inner, State: l.state, Err: l.readErr}
	r.Plain, r.Cipher = l.takeBuffers()
	c.ended = true
	return r
}

// Facts are what the handshake has agreed on; also in Meta of the Conn.
func (c *Conn) Facts() *transport.TLS { return c.link.facts }

// Inner implements transport.Layer, and the following methods transport.Conn.
func (c *Conn) Inner() transport.Conn { return c.inner }

// Read implements transport.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if c.ended {
		return 0, net.ErrClosed
	}
	n, err := c.link.read(p, c.inner.Read)
	if err != nil {
		if alert, ok := c.link.alertOf(); ok {
			c.link.end(alert, c.writeNow)
		}
	}
	return n, err
}

// Write implements transport.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	if c.ended {
		return 0, net.ErrClosed
	}
	return c.link.write(p, c.inner.Write)
}

// writeNow writes as much as the socket takes without waiting for long.
func (c *Conn) writeNow(p []byte) (int, error) {
	if s, ok := c.inner.(interface{ WriteNow([]byte) (int, error) }); ok {
		return s.WriteNow(p)
	}
	c.inner.SetDeadline(time.Now().Add(closeWait))
	return c.inner.Write(p)
}

// SetDeadline implements transport.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if c.ended {
		return net.ErrClosed
	}
	return c.inner.SetDeadline(t)
}

// HungUp implements transport.Conn. It includes a close_notify.
func (c *Conn) HungUp() bool { return c.link.closed() || c.inner.HungUp() }

// CloseWrite implements transport.Conn. It sends a close_notify first.
func (c *Conn) CloseWrite() error {
	if c.ended {
		return net.ErrClosed
	}
	if err := c.link.end(tlsrec.AlertCloseNotify, c.inner.Write); err != nil {
		return err
	}
	return c.inner.CloseWrite()
}

// Close implements transport.Conn. It sends a close_notify if the socket takes it.
func (c *Conn) Close() error {
	if c.ended {
		return nil
	}
	c.link.end(tlsrec.AlertCloseNotify, c.writeNow)
	c.link.dropTickets()
	c.link.takeBuffers()
	c.ended = true
	return c.inner.Close()
}

// Detach implements transport.Conn. The result is a *NetConn.
func (c *Conn) Detach() (net.Conn, error) {
	if c.ended {
		return nil, net.ErrClosed
	}
	meta := c.Meta()
	c.link.dropTickets()
	if ahead, ok := c.inner.(interface{ First() []byte }); ok {
		c.link.putCipher(ahead.First())
	}
	nc, err := c.inner.Detach()
	if err != nil {
		return nil, err
	}
	c.ended = true
	return &NetConn{conn: nc, link: c.link, meta: meta}, nil
}

// Park implements transport.Conn. The Conn that resume gets is another one.
func (c *Conn) Park(first []byte, resume func(transport.Conn), gone func()) (transport.Parked, error) {
	if c.ended {
		return nil, net.ErrClosed
	}
	l := c.link
	parked, err := c.inner.Park(nil, func(inner transport.Conn) { resume(&Conn{inner: inner, link: l}) }, gone)
	if err != nil {
		return nil, err
	}
	c.ended = true
	l.dropTickets()
	plain, cipher := l.takeBuffers()
	l.first = append(first, plain...)
	if len(cipher) > 0 {
		l.cipher = &buffer{b: cipher, to: len(cipher)}
	}
	return parked, nil
}

// Meta implements transport.Conn. It is that of the Conn below, with TLS.
func (c *Conn) Meta() transport.Meta {
	m := c.inner.Meta()
	m.TLS = c.link.facts
	return m
}

// LocalAddr implements transport.Conn.
func (c *Conn) LocalAddr() netip.AddrPort { return c.inner.LocalAddr() }

// RemoteAddr implements transport.Conn.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.inner.RemoteAddr() }

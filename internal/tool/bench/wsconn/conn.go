// Package wsconn implements WebSocket connections (RFC 6455) for the load generator
// and its server. Connections use little memory, sending never blocks, and received
// data is checked strictly. Extensions aren't supported.
package wsconn

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

const (
	// MaxBacklog is the number of buffered bytes above which Send returns
	// ErrBacklog.
	MaxBacklog = 4 << 20

	firstBuffer = 512      // enough for a handshake response and small messages
	largeBuffer = 64 << 10 // only a larger frame needs a larger buffer

	finBit  = 0x80
	maskBit = 0x80
)

// Handler handles the messages that Serve reads.
type Handler interface {
	// Message is called with each complete data message and the time at which
	// it was read. op is frame.OpText or frame.OpBinary. payload is valid until
	// Message returns.
	Message(op byte, payload []byte, at time.Time)
}

// Conn is one end of an open WebSocket. Only one goroutine may call Serve; the other
// methods are safe for concurrent use.
type Conn struct {
	nc         net.Conn // out, or TLS over it
	out        *asyncConn
	client     bool
	maxMessage int

	buf  []byte // buf[r:w] is read and not yet handled
	r, w int

	op        byte // of the incomplete fragmented message, 0 if there is none
	fragments []byte

	mu        sync.Mutex
	closeSent bool
}

func newConn(nc net.Conn, out *asyncConn, client bool, maxMessage int, rest []byte) *Conn {
	c := &Conn{nc: nc, out: out, client: client, maxMessage: maxMessage}
	if len(rest) > 0 {
		c.buf = append(make([]byte, 0, max(firstBuffer, len(rest))), rest...)
		c.w = len(rest)
		c.buf = c.buf[:cap(c.buf)]
	}
	return c
}

// Accepted returns the server's end of a connection after its opening handshake. rest
// is what was read after the client's request head. Conn.Close closes nc.
func Accepted(nc net.Conn, rest []byte, maxMessage int) *Conn {
	out := newAsyncConn(nc)
	return newConn(out, out, false, maxMessage, rest)
}

var scratch = sync.Pool{New: func() any { return new([]byte) }}

// Send sends a message as one frame, without blocking. After ErrBacklog the
// connection is still usable; after any other error it isn't.
func (c *Conn) Send(op byte, payload []byte) error {
	if c.out.backlog() > MaxBacklog {
		return ErrBacklog
	}
	b := scratch.Get().(*[]byte)
	*b = appendFrame((*b)[:0], op, payload, c.client)
	_, err := c.nc.Write(*b)
	if cap(*b) <= 1<<20 {
		scratch.Put(b)
	}
	return err
}

// SendFrame is like Send for a frame made by AppendFrame.
func (c *Conn) SendFrame(f []byte) error {
	if c.out.backlog() > MaxBacklog {
		return ErrBacklog
	}
	_, err := c.nc.Write(f)
	return err
}

// SendWaiting is like Send, but blocks while many bytes are buffered, so that the
// caller doesn't send faster than the peer reads.
func (c *Conn) SendWaiting(op byte, payload []byte) error {
	c.out.waitBelow(largeBuffer)
	return c.Send(op, payload)
}

// SendClose sends a Close frame, unless one was sent before.
func (c *Conn) SendClose(code uint16, reason string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closeSent {
		return nil
	}
	c.closeSent = true
	_, err := c.nc.Write(frame.AppendClose(nil, c.client, code, reason))
	return err
}

// Close closes the connection at once, without a closing handshake.
func (c *Conn) Close() error { return c.out.Close() }

// SetReadDeadline sets the deadline of Serve's reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

// TLS returns what the TLS handshake has agreed on; nil without TLS.
func (c *Conn) TLS() *tls.ConnectionState {
	secure, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	state := secure.ConnectionState()
	return &state
}

// LocalAddr returns the local address of the connection.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// AppendFrame appends an unmasked frame with a complete message, as servers send it.
func AppendFrame(dst []byte, op byte, payload []byte) []byte {
	return appendFrame(dst, op, payload, false)
}

func appendFrame(dst []byte, op byte, payload []byte, masked bool) []byte {
	var m byte
	if masked {
		m = maskBit
	}
	dst = append(dst, finBit|op)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, m|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, m|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, m|127), uint64(n))
	}
	if !masked {
		return append(dst, payload...)
	}
	// The key must differ for each frame, but needn't be unpredictable: the
	// attack of RFC 6455 §10.3 concerns browsers.
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], rand.Uint32())
	dst = append(dst, key[:]...)
	at := len(dst)
	dst = append(dst, payload...)
	mask(dst[at:], key, 0)
	return dst
}

// Serve reads until the connection ends, and answers pings and Close frames. Then it
// closes the connection. It returns a *CloseError after the peer's Close frame, a
// *ProtocolError, or the error of reading, which is io.EOF if the stream ended
// without a Close.
func (c *Conn) Serve(h Handler) error {
	defer c.Close()
	for {
		if err := c.handle(h); err != nil {
			var closed *CloseError
			if errors.As(err, &closed) {
				c.awaitEnd()
			}
			return err
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// awaitEnd waits for up to a second until the server closes the TCP connection
// first, as required by RFC 6455 §7.1.1. On a server, it lets its Close arrive.
func (c *Conn) awaitEnd() {
	if !c.client {
		if tcp, ok := c.out.Conn.(interface{ CloseWrite() error }); ok && c.out.backlog() == 0 {
			_ = tcp.CloseWrite() // with unread data, Close would reset the connection
		}
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Second))
	for {
		if _, err := c.nc.Read(c.buf); err != nil {
			return
		}
	}
}

// fill reads more data, after the rest of an incomplete frame.
func (c *Conn) fill() error {
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.buf) {
		c.grow(max(firstBuffer, min(2*len(c.buf), largeBuffer)))
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (c *Conn) grow(size int) {
	if size <= len(c.buf) {
		return
	}
	b := make([]byte, size)
	copy(b, c.buf[:c.w])
	c.buf = b
}

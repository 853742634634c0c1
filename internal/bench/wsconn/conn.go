// Package wsconn is WebSocket connections (RFC 6455) as a load generator and
// its counterpart need them: cheap by the thousand, never blocking when they
// send, and strict about what they receive. No extensions.
package wsconn

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/frame"
)

const (
	// MaxBacklog bounds, in bytes, what may wait for a peer that doesn't read
	// when another message is sent.
	MaxBacklog = 4 << 20

	firstBuffer = 512      // enough for a handshake's answer and small messages
	largeBuffer = 64 << 10 // reads don't get larger than this without need

	finBit  = 0x80
	maskBit = 0x80
)

// Handler takes what Serve reads.
type Handler interface {
	// Message has a whole data message (op is frame.OpText or OpBinary) and
	// when it was read. payload is valid until it returns.
	Message(op byte, payload []byte, at time.Time)
}

// Conn is one end of an open WebSocket. One goroutine runs Serve; any may
// call the other methods.
type Conn struct {
	nc         net.Conn // out, or TLS over it
	out        *asyncConn
	client     bool
	maxMessage int

	buf  []byte // buf[r:w] is read and not yet handled
	r, w int

	op        byte // of the fragmented message that is open, 0 where none is
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

// Accepted makes the server's end of a connection whose opening handshake is
// done. rest is what came after the client's request head. Close closes nc.
func Accepted(nc net.Conn, rest []byte, maxMessage int) *Conn {
	out := newAsyncConn(nc)
	return newConn(out, out, false, maxMessage, rest)
}

var scratch = sync.Pool{New: func() any { return new([]byte) }}

// Send sends a data message as one frame, without waiting. ErrBacklog leaves
// the connection as it is; after any other error it is of no use.
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

// SendFrame sends bytes that AppendFrame made; see Send.
func (c *Conn) SendFrame(f []byte) error {
	if c.out.backlog() > MaxBacklog {
		return ErrBacklog
	}
	_, err := c.nc.Write(f)
	return err
}

// SendWaiting is Send for who shall not send faster than the peer reads: it
// waits while much is on its way.
func (c *Conn) SendWaiting(op byte, payload []byte) error {
	c.out.waitBelow(largeBuffer)
	return c.Send(op, payload)
}

// SendClose sends a Close frame with code, unless one was sent before.
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

// Close ends the connection at once, without a closing handshake.
func (c *Conn) Close() error { return c.out.Close() }

// SetReadDeadline bounds Serve's reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

// LocalAddr of the connection.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// AppendFrame appends a server's frame that is a whole message.
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
	// A load generator's key need not be hard to guess (RFC 6455 §10.3 is
	// about browsers), only different each time.
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], rand.Uint32())
	dst = append(dst, key[:]...)
	at := len(dst)
	dst = append(dst, payload...)
	mask(dst[at:], key, 0)
	return dst
}

// Serve reads until the connection ends, and answers pings and Close. It
// returns a *CloseError after the peer's Close frame, a *ProtocolError, or
// what reading failed with: io.EOF where the stream just ended. The
// connection is closed then.
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

// awaitEnd gives a server the time to close the TCP connection first, as RFC
// 6455 §7.1.1 wants it. A server just waits a moment for its Close to arrive.
func (c *Conn) awaitEnd() {
	if !c.client {
		if tcp, ok := c.out.Conn.(interface{ CloseWrite() error }); ok && c.out.backlog() == 0 {
			_ = tcp.CloseWrite() // an unread byte would turn Close into a reset
		}
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Second))
	for {
		if _, err := c.nc.Read(c.buf); err != nil {
			return
		}
	}
}

// fill reads more, after what is left of an incomplete frame.
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

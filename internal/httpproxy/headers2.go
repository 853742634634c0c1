package httpproxy

import (
	"errors"
	"net"
	"sync"
	"time"
)

// headers2 gives the header blocks of an HTTP/2 connection a deadline, as heads does with
// heads of HTTP/1. net/http has none. A client that sends a HEADERS frame byte by byte
// would only be noticed when its connection has been idle for too long, or when it leaves
// a ping unanswered, since what isn't complete counts for neither.
//
// It follows where frames and blocks begin and end (RFC 9113 §4.1, §6.10), and leaves
// everything else to net/http. A frame of DATA may take long.
type headers2 struct {
	conn net.Conn
	time time.Duration // for a header block, and for any other frame than DATA

	// The reader's alone.
	preface int     // bytes of the client's preface that are still to come
	header  [9]byte // of the frame that comes
	have    int     // bytes of header
	left    int     // bytes of the frame's payload
	block   bool    // a header block has begun

	mu    sync.Mutex // guards the following
	outer time.Time  // net/http's deadline
	late  time.Time  // that of what has begun; zero without
}

const clientPreface = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") // RFC 9113 §3.4

// Types and flags of frames, RFC 9113 §6.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameContinuation = 0x9
	flagEndHeaders    = 0x4
)

func (h *headers2) read(p []byte) (int, error) {
	n, err := h.conn.Read(p)
	h.set(h.follow(p[:n]))
	return n, err
}

// follow takes note of what was read, and reports whether something is incomplete that
// must not take long.
func (h *headers2) follow(p []byte) (incomplete bool) {
	skipped := min(h.preface, len(p))
	h.preface -= skipped
	for p = p[skipped:]; len(p) > 0; {
		if h.have < len(h.header) {
			n := copy(h.header[h.have:], p)
			h.have, p = h.have+n, p[n:]
			if h.have < len(h.header) {
				break
			}
			h.left = int(h.header[0])<<16 | int(h.header[1])<<8 | int(h.header[2])
			if kind := h.header[3]; kind == frameHeaders || kind == frameContinuation {
				h.block = h.header[4]&flagEndHeaders == 0
			}
		}
		n := min(h.left, len(p))
		if h.left, p = h.left-n, p[n:]; h.left == 0 {
			h.have = 0
		}
	}
	switch {
	case h.block:
		return true // of whatever comes, only CONTINUATION is allowed
	case h.have == len(h.header):
		return h.header[3] != frameData
	}
	return h.have > 0
}

// set begins the deadline, or ends it.
func (h *headers2) set(incomplete bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if incomplete != h.late.IsZero() {
		return
	}
	if h.late = (time.Time{}); incomplete {
		h.late = time.Now().Add(h.time)
	}
	h.setDeadline()
}

// setReadDeadline is net/http's SetReadDeadline.
func (h *headers2) setReadDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outer = t
	return h.setDeadline()
}

// setDeadline is called with mu held.
func (h *headers2) setDeadline() error {
	t := h.outer
	if !h.late.IsZero() && (t.IsZero() || h.late.Before(t)) {
		t = h.late
	}
	return h.conn.SetReadDeadline(t)
}

func (c *http2Conn) Read(p []byte) (int, error) { return c.headers.read(p) }

// SetReadDeadline is part of net.Conn.
func (c *http2Conn) SetReadDeadline(t time.Time) error { return c.headers.setReadDeadline(t) }

// SetDeadline is part of net.Conn.
func (c *http2Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

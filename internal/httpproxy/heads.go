package httpproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// heads reads a client's connection for net/http. It follows where one request
// ends and the next begins, and lets net/http see only heads that the spine would
// take for plain HTTP. So the first request of a connection and later ones are
// treated alike, and no request is read in two ways.
//
// Instead of any other head (a WebSocket's, or one that is malformed, too large,
// late or cut off) net/http gets a stand-in. The connection then goes back to the
// spine, with everything that came from that head on.
type heads struct {
	conn     net.Conn
	plain    func(*httphead.Request) bool
	maxHead  int
	headTime time.Duration

	// Used by read, which isn't called concurrently, and after it.
	in     []byte // read, and not yet passed on
	ready  int    // how much of it may be passed on
	seen   int    // how much of it was searched for the end of a head
	part   part
	left   int64 // of the body or chunk
	within int   // bytes of the trailers so far
	err    error // ends the connection
	req    httphead.Request

	mu      sync.Mutex // guards the following
	passed  []bool     // one for each head that no handler has taken yet: is it the stand-in?
	outer   time.Time  // net/http's deadline
	late    time.Time  // deadline of the head that has begun; or zero
	idle    bool       // net/http waits for a head
	partial bool       // a head has begun
}

// part is what comes next in the stream.
type part uint8

const (
	inHead part = iota
	inBody
	inChunkSize
	inChunk
	inChunkEnd
	inTrailers
	handedBack // to the spine
)

const (
	// maxChunkLine is net/http's limit for the line with a chunk's size.
	maxChunkLine = 4 << 10
	// pieceSize is read at once while a head or a chunk's size is expected.
	pieceSize = 4 << 10
	standIn   = "GET / HTTP/1.1\r\nHost: spine\r\nConnection: close\r\n\r\n"
)

var errBrokenBody = errors.New("the request's body is no chunked one (RFC 9112 section 7.1)")

// newHeads makes heads for conn, from which already was read.
func newHeads(conn net.Conn, already []byte, plain func(*httphead.Request) bool, l Limits) *heads {
	return &heads{conn: conn, in: already, plain: plain, maxHead: l.HeadBytes, headTime: l.Head}
}

// read is net/http's Read.
func (h *heads) read(p []byte) (int, error) {
	for {
		if h.ready > 0 {
			n := copy(p, h.in[:h.ready])
			h.ready -= n
			if h.in = h.in[n:]; len(h.in) == 0 {
				h.in = nil // its array may be large
			}
			return n, nil
		}
		if h.err != nil {
			return 0, h.err
		}
		if len(h.in) > 0 && h.next() {
			continue
		}
		if (h.part == inBody || h.part == inChunk) && len(h.in) == 0 {
			// Read straight into p.
			n, err := h.conn.Read(p[:min(int64(len(p)), h.left)])
			h.take(int64(n))
			return n, err
		}
		if err := h.fill(); err != nil {
			return 0, err
		}
	}
}

// fill reads more into h.in. It returns nil for an error with which the head that
// has begun goes back to the spine.
func (h *heads) fill() error {
	if h.part == handedBack && len(h.in) >= h.maxHead {
		return io.EOF // the rest is for the spine
	}
	at := len(h.in)
	h.in = append(h.in, make([]byte, pieceSize)...)
	n, err := h.conn.Read(h.in[at:])
	h.in = h.in[:at+n]
	switch {
	case n > 0:
		if h.part == inHead && at == 0 {
			h.begins()
		}
		return nil
	case h.part == inHead && at > 0 && string(h.in) != "\r" && (err == io.EOF || h.tooLate()):
		h.handBack()
		return nil
	}
	return err
}

// next parses what was read, and reports whether it made progress.
func (h *heads) next() bool {
	switch h.part {
	case inHead:
		return h.nextHead()
	case inBody, inChunk:
		h.ready = int(min(int64(len(h.in)), h.left))
		h.take(int64(h.ready))
		return true
	case handedBack:
		return false
	}
	longest := maxChunkLine
	if h.part == inTrailers {
		longest = h.maxHead
	}
	end := bytes.IndexByte(h.in, '\n')
	switch {
	case end < 0 && len(h.in) < longest:
		return false
	case end < 1 || h.in[end-1] != '\r' || end >= longest:
		h.err = errBrokenBody
		return true
	}
	h.nextLine(h.in[:end-1])
	if h.err == nil {
		h.ready = end + 1
	}
	return true
}

// take counts bytes of the body or of a chunk.
func (h *heads) take(n int64) {
	if h.left -= n; h.left == 0 {
		if h.part++; h.part == inChunkSize { // after a body without chunks
			h.part = inHead
		}
	}
}

func (h *heads) nextHead() bool {
	for len(h.in) >= 2 && h.in[0] == '\r' && h.in[1] == '\n' { // RFC 9112 §2.2
		h.in, h.seen = h.in[2:], 0
	}
	if len(h.in) == 0 {
		h.pauses()
		return false
	}
	// The first piece is always parsed, so that garbage is detected at once.
	if h.seen > 0 && len(h.in) < h.maxHead && httphead.EndOfHead(h.in, h.seen) < 0 {
		h.seen = len(h.in)
		return false
	}
	n, err := h.req.Parse(h.in[:min(len(h.in), h.maxHead)])
	switch {
	case err != nil, n == 0 && len(h.in) >= h.maxHead, n > 0 && h.plain != nil && !h.plain(&h.req):
		h.handBack()
		return true
	case n == 0:
		h.seen = len(h.in)
		return false
	}
	h.ready, h.seen = n, 0
	switch {
	case h.req.Chunked:
		h.part = inChunkSize
	case h.req.ContentLength > 0:
		h.part, h.left = inBody, h.req.ContentLength
	}
	h.pass(false)
	return true
}

// nextLine parses a line between the data of chunks.
func (h *heads) nextLine(line []byte) {
	switch h.part {
	case inChunkSize:
		size, ok := parseChunkSize(line)
		switch {
		case !ok:
			h.err = errBrokenBody
		case size == 0:
			h.part, h.within = inTrailers, 0
		default:
			h.part, h.left = inChunk, size
		}
	case inChunkEnd:
		if h.part = inChunkSize; len(line) > 0 {
			h.err = errBrokenBody
		}
	case inTrailers:
		switch h.within += len(line); {
		case len(line) == 0:
			h.part = inHead
		case h.within > h.maxHead || !httphead.IsField(line):
			h.err = errBrokenBody
		}
	}
}

// parseChunkSize reads a chunk's size and ignores its extensions (RFC 9112
// §7.1.1). White space after it isn't in the grammar, but harmless.
func parseChunkSize(line []byte) (size int64, ok bool) {
	digits := 0
	for ; digits < len(line); digits++ {
		d := bytes.IndexByte([]byte("0123456789abcdef"), line[digits]|0x20)
		if line[digits] < '0' || d < 0 {
			break
		}
		if size = size<<4 | int64(d); digits == 15 {
			return 0, false // too large, or needless zeros
		}
	}
	rest := bytes.TrimLeft(line[digits:], " \t")
	return size, digits > 0 && (len(rest) == 0 || rest[0] == ';' && httphead.IsFieldValue(rest))
}

// handBack passes the stand-in on instead of what was read.
func (h *heads) handBack() {
	h.in = append([]byte(standIn), h.in...)
	h.ready, h.part = len(standIn), handedBack
	h.pass(true)
}

// rest is what goes back to the spine. It may be called after the last read.
func (h *heads) rest() []byte { return h.in[h.ready:] }

// pass records a head for the handler that gets it.
func (h *heads) pass(back bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.passed = append(h.passed, back)
	h.partial, h.late = false, time.Time{}
	h.setDeadline()
}

// taken reports, to the handler of the next request, whether that is the
// stand-in.
func (h *heads) taken() (back bool) {
	if h == nil {
		return false // a connection of another server
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle = false
	if len(h.passed) > 0 {
		back, h.passed = h.passed[0], h.passed[1:]
	}
	return back
}

// begins records that a head has begun.
func (h *heads) begins() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.partial = true
	h.startTimer()
}

// pauses records that no head has begun after all: it was an empty line.
func (h *heads) pauses() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.partial, h.late = false, time.Time{}
	h.setDeadline()
}

// waits records that net/http waits for the next head. Before that, while a
// request is under way, there is no deadline for the next one.
func (h *heads) waits() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle = true
	h.startTimer()
}

// startTimer is called with mu held, as setDeadline is.
func (h *heads) startTimer() {
	if h.idle && h.partial && h.late.IsZero() {
		h.late = time.Now().Add(h.headTime)
		h.setDeadline()
	}
}

func (h *heads) setDeadline() {
	t := h.outer
	if !h.late.IsZero() && (t.IsZero() || h.late.Before(t)) {
		t = h.late
	}
	h.conn.SetReadDeadline(t)
}

// tooLate reports whether the head that has begun took too long.
func (h *heads) tooLate() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.late.IsZero() && !time.Now().Before(h.late)
}

// setReadDeadline is net/http's SetReadDeadline.
func (h *heads) setReadDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outer = t
	h.setDeadline()
	return nil
}

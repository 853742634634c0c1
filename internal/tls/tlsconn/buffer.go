package tlsconn

import (
	"sync"

	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
)

// Sizes of buffers. Most flights of a handshake, and most requests, fit into a small
// one.
const (
	smallBuffer = 4 << 10
	largeBuffer = tlsrec.MaxRecord
)

// buffer has bytes that were read or opened and are not used yet: b[from:to].
type buffer struct {
	b        []byte
	from, to int
}

var smallBuffers, largeBuffers sync.Pool

// newBuffer returns a buffer with room for n bytes.
func newBuffer(n int) *buffer {
	pool, size := &smallBuffers, smallBuffer
	if n > smallBuffer {
		pool, size = &largeBuffers, max(n, largeBuffer)
	}
	if b, _ := pool.Get().(*buffer); b != nil && len(b.b) >= n {
		return b
	}
	return &buffer{b: make([]byte, size)}
}

// free gives b back to its pool. It may be nil.
func (b *buffer) free() {
	if b == nil {
		return
	}
	b.from, b.to = 0, 0
	switch len(b.b) {
	case smallBuffer:
		smallBuffers.Put(b)
	case largeBuffer:
		largeBuffers.Put(b)
	}
}

func (b *buffer) isEmpty() bool { return b == nil || b.from == b.to }

func (b *buffer) bytes() []byte {
	if b == nil {
		return nil
	}
	return b.b[b.from:b.to]
}

// room returns where to read to, in a buffer with room for at least n bytes beyond
// those that it has. That is b, or a larger one in its place.
func (b *buffer) room(n int) (*buffer, []byte) {
	if len(b.b)-b.to < n && b.from > 0 {
		b.from, b.to = 0, copy(b.b, b.bytes())
	}
	if len(b.b)-b.to < n {
		larger := newBuffer(b.to + n)
		larger.to = copy(larger.b, b.bytes())
		b.free()
		b = larger
	}
	return b, b.b[b.to:]
}

// clone returns a copy of what b has; nil if it has nothing.
func (b *buffer) clone() []byte { return append([]byte(nil), b.bytes()...) }

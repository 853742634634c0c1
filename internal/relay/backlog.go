package relay

import "slices"

// backlog keeps the bytes that sockets didn't take, by number, so that a record can
// refer to them without a pointer. At most the bytes of one read and our own control
// frames are kept for a side. While bytes are kept, the engine doesn't read the other
// side (io_linux.go).
type backlog struct {
	kept []kept // number n is kept[n-1]
	free []int32
	pool [][]byte // free buffers of keepSize
	size int      // of all buffers in use, in bytes
}

type kept struct {
	buf  []byte // all of it; nil if the number is free
	from int    // the unsent bytes begin here
}

const (
	keepSize  = 256 << 10 // the largest read
	keepSmall = 64 << 10  // up to this, a buffer has the size of its bytes
	poolSize  = 8
)

// keep copies p, which isn't empty, and returns its number.
func (b *backlog) keep(p []byte) int32 {
	k := kept{}
	switch n := len(b.pool); {
	case len(p) <= keepSmall:
	case n > 0:
		k.buf, b.pool = b.pool[n-1][:0], b.pool[:n-1]
	default:
		k.buf = make([]byte, 0, max(keepSize, len(p)))
	}
	k.buf = append(k.buf, p...)
	b.size += cap(k.buf)
	if n := len(b.free); n > 0 {
		i := b.free[n-1]
		b.free = b.free[:n-1]
		b.kept[i-1] = k
		return i
	}
	b.kept = append(b.kept, k)
	return int32(len(b.kept))
}

// add appends p to what is kept as number n.
func (b *backlog) add(n int32, p []byte) {
	k := &b.kept[n-1]
	b.size -= cap(k.buf)
	k.buf = append(k.buf, p...)
	b.size += cap(k.buf)
}

// bytes is what is not sent yet.
func (b *backlog) bytes(n int32) []byte {
	k := &b.kept[n-1]
	return k.buf[k.from:]
}

// sent notes that so many bytes were sent and reports whether that was all.
func (b *backlog) sent(n int32, count int) bool {
	k := &b.kept[n-1]
	k.from += count
	return k.from == len(k.buf)
}

// drop forgets number n.
func (b *backlog) drop(n int32) {
	k := &b.kept[n-1]
	b.size -= cap(k.buf)
	if cap(k.buf) == keepSize && len(b.pool) < poolSize {
		b.pool = append(b.pool, k.buf[:0])
	}
	*k = kept{}
	b.free = append(b.free, n)
}

// trim releases the free buffers, and the numbers behind the last one in use.
func (b *backlog) trim() {
	b.pool = nil
	n := len(b.kept)
	for n > 0 && b.kept[n-1].buf == nil {
		n--
	}
	if n == len(b.kept) {
		return
	}
	b.kept = append([]kept(nil), b.kept[:n]...)
	b.free = append([]int32(nil), slices.DeleteFunc(b.free, func(i int32) bool { return int(i) > n })...)
}

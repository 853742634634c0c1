package relay

import (
	"math"
	"slices"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// backlog keeps the bytes that sockets didn't take, by number, so that a record can
// refer to them without a pointer. At most the bytes of one read and our own control
// frames are kept for a side. While bytes are kept, the engine doesn't read the other
// side (io_linux.go). All that is kept is in one list, the oldest first.
type backlog struct {
	kept []kept // number n is kept[n-1]
	free []int32
	pool [][]byte // free buffers of keepSize
	size int      // of all buffers in use, in bytes
	most int      // size should not be more; see epollLoop.makeRoom

	oldest, newest int32 // 0 if nothing is kept
}

// turn is one side of a session of a loop.
type turn struct {
	slot int32
	side session.Side
}

type kept struct {
	buf        []byte // all of it; nil if the number is free
	from       int    // the unsent bytes begin here
	to         turn   // the side that they are for
	since      eventloop.Tick
	prev, next int32 // in the list; 0 is none
}

const (
	keepSize  = 256 << 10 // the largest read
	keepSmall = 64 << 10  // up to this, a buffer has the size of its bytes
	poolSize  = 8
)

// keep copies p, which isn't empty and is for a side, and returns its number.
func (b *backlog) keep(p []byte, to turn, now eventloop.Tick) int32 {
	k := kept{to: to, since: now, prev: b.newest}
	switch n := len(b.pool); {
	case len(p) <= keepSmall:
	case n > 0:
		k.buf, b.pool = b.pool[n-1][:0], b.pool[:n-1]
	default:
		k.buf = make([]byte, 0, max(keepSize, len(p)))
	}
	k.buf = append(k.buf, p...)
	b.size += cap(k.buf)
	var i int32
	if n := len(b.free); n > 0 {
		i = b.free[n-1]
		b.free = b.free[:n-1]
		b.kept[i-1] = k
	} else {
		b.kept = append(b.kept, k)
		i = int32(len(b.kept))
	}
	b.link(k.prev, i)
	b.newest = i
	if b.oldest == 0 {
		b.oldest = i
	}
	return i
}

// link makes number n, or the end of the list if it is 0, follow number before, or the
// beginning of the list.
func (b *backlog) link(before, n int32) {
	if before != 0 {
		b.kept[before-1].next = n
	}
	if n != 0 {
		b.kept[n-1].prev = before
	}
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

// since is when number n was kept.
func (b *backlog) since(n int32) eventloop.Tick { return b.kept[n-1].since }

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
	b.link(k.prev, k.next)
	if b.oldest == n {
		b.oldest = k.next
	}
	if b.newest == n {
		b.newest = k.prev
	}
	*k = kept{}
	b.free = append(b.free, n)
}

// isFull reports that more is kept than may be.
func (b *backlog) isFull() bool { return b.size > b.most }

// longest is the side for which bytes are kept the longest.
func (b *backlog) longest() (turn, bool) {
	if b.oldest == 0 {
		return turn{}, false
	}
	return b.kept[b.oldest-1].to, true
}

// allow sets what may be kept: a part of total bytes among so many; 0 is no limit.
func (b *backlog) allow(total int64, among int) {
	b.most = math.MaxInt
	if total > 0 {
		b.most = int(max(total/int64(among), minBacklog))
	}
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

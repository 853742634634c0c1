package relay

import (
	"slices"
	"syscall"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

const (
	// firstRead is the size of a first read. Most sides that stop taking bytes
	// cost that much memory.
	firstRead = 64 << 10
	// headRead is the size of the read after a spliced payload: enough for the
	// next header, so that the next payload may be spliced too.
	headRead = 4 << 10
	// maxBacklog is the size of a loop's backlog from which on it reads at most
	// firstRead of any socket; less if it may not have that much.
	maxBacklog = 16 << 20
)

// How much one side may pass on before it is the turn of others. If few send much, they
// do that with few and large reads. If many do, each gets less at a time, since whoever
// sends a small message then waits for all of them.
const (
	// maxReads is how often a socket is read at once.
	maxReads = 16
	// muchAtOnce is how many bytes an iteration of the loop may pass on before it reads
	// each further socket once, and before it leaves sockets that have had a turn to the
	// next iteration, which looks for new events first.
	muchAtOnce = 4 << 20
	// lateRead is the size of a read when twice as much was passed on.
	lateRead = 16 << 10
)

// turn returns how often a socket may be read now, and how much at first.
func (el *epollLoop) turn() (reads, size int) {
	switch {
	case el.moved >= 2*muchAtOnce:
		return 1, lateRead
	case el.moved >= muchAtOnce:
		return 1, firstRead
	}
	return maxReads, firstRead
}

// Ready implements eventloop.Owner.
func (el *epollLoop) Ready(slot int32, side session.Side, ev eventloop.Events) {
	r := el.at(slot)
	h := &r.sides[side]
	if ev.Ended() {
		h.flags |= isEnded
	}
	if h.pending != 0 && ev.Writable() {
		el.flush(slot, r, side)
	}
	if ev.Readable() {
		h.flags |= isReadable
		el.read(slot, r, side)
	}
	if ev.Ended() && h.flags&readPaused != 0 {
		r.clientEnds(el.Now())
	}
	if ev.Reset() && h.flags&isEOF != 0 && r.marks&isOpaque != 0 {
		r.lose(side, el.Now()) // it was half-closed, and isn't read any more
	}
	el.settle(slot, r)
}

// read passes on the bytes in the socket of s while the other side takes them. While
// bytes wait for the other side, s isn't read.
func (el *epollLoop) read(slot int32, r *record, s session.Side) {
	if r.marks&hasTLS != 0 {
		if side := el.tls.of(slot, s); side != nil {
			el.readTLS(slot, r, s, side)
			return
		}
	}
	h, o := &r.sides[s], &r.sides[s.Other()]
	reads, size := el.turn()
	buf := el.Buf[:size]
	full := false // s sends much, and the other side takes it
	for range reads {
		if o.pending != 0 || h.flags&(isEOF|isLost|readPaused) != 0 || r.isThrottling(s) {
			return
		}
		if el.backlog.isFull() {
			break // Again makes room
		}
		if r.phase >= awaitingBoundary && s == session.Client {
			buf = el.Buf[:r.upToBoundary(len(el.Buf))]
		}
		if b := el.budgetOf(slot, r, s); b != nil {
			buf = buf[:b.allowance(&h.walker, len(buf), el.Now())]
		}
		var n int
		var e syscall.Errno
		if full {
			if n, e = el.splice(slot, r, s); n > 0 {
				if buf = el.Buf[:headRead]; r.marks&isOpaque != 0 {
					buf = el.Buf[:firstRead] // there are no headers
				}
				continue
			}
		}
		if e == 0 {
			n, e = eventloop.Recv(h.fd, buf)
		}
		switch {
		case e == syscall.EAGAIN:
			h.flags &^= isReadable
			return
		case e != 0:
			r.lose(s, el.Now())
			return
		case n == 0:
			r.eof(s, el.Now())
			return
		}
		el.carry(slot, r, s, buf[:n])
		if n < len(buf) && h.flags&isEnded == 0 {
			// Edge-triggered: a short read has emptied the socket.
			h.flags &^= isReadable
			return
		}
		full = n == len(buf)
		if buf = el.Buf; !el.readsMuch() {
			buf = el.Buf[:firstRead]
		}
	}
	el.resume(slot, r, s)
}

// readsMuch reports whether there is room for what the largest reads may leave.
func (el *epollLoop) readsMuch() bool { return el.backlog.size < min(maxBacklog, el.backlog.most/4) }

// makeRoom ends the sessions for which bytes are kept the longest, until no more is kept
// than may be. Those that are merely slow for a moment are the last of them. It is
// called outside all other calls.
func (el *epollLoop) makeRoom() {
	for el.backlog.isFull() {
		t, ok := el.backlog.longest()
		if !ok {
			return
		}
		el.cutSlow(t.slot, el.at(t.slot), t.side)
	}
}

// resume implements connections.
func (el *epollLoop) resume(slot int32, r *record, s session.Side) {
	if h := &r.sides[s]; h.flags&(isReadable|isAgain) == isReadable {
		h.flags |= isAgain
		el.again = append(el.again, turn{slot, s})
		el.CallAgain()
	}
}

// Again implements eventloop.Owner.
func (el *epollLoop) Again() {
	el.makeRoom()
	turns, before := el.again, el.moved
	el.again, el.spare = el.spare[:0], turns
	for i, t := range turns {
		if el.moved-before >= muchAtOnce {
			el.again = slices.Insert(el.again, 0, turns[i:]...)
			el.CallAgain()
			break
		}
		if el.records[t.slot/chunkRecords] == nil {
			continue // the chunk was trimmed: its session has ended
		}
		r := el.at(t.slot)
		if r.live && r.sides[t.side].flags&isAgain != 0 {
			r.sides[t.side].flags &^= isAgain
			el.read(t.slot, r, t.side)
			el.settle(t.slot, r)
		}
	}
	woken := el.woken
	el.woken = nil // moves are rare
	for _, slot := range woken {
		if el.moves[slot] != nil {
			el.advance(slot, el.at(slot))
		}
	}
	el.serveQueue()
}

// serveQueue gives sessions their turn to search for another backend.
func (el *epollLoop) serveQueue() {
	for {
		slot, ok := el.queue.next()
		if !ok {
			return
		}
		if el.moves[slot] == nil || !el.dequeued(slot, el.at(slot)) {
			el.queue.leave()
		}
	}
}

// limitFrom is how many bytes pass to a side before what the kernel keeps for it is
// bounded, the least that Tuning.Unsent may be: until then there can't be more, and many
// sessions are over before.
const limitFrom = 16 << 10

// count implements connections.
func (el *epollLoop) count(r *record, s session.Side, bytes, messages uint64) {
	if sum := r.sides[s].bytes; sum >= limitFrom && sum-bytes < limitFrom {
		el.times.limitUnsentFD(r.sides[s.Other()].fd)
	}
	el.traffic[s].Bytes += bytes
	el.traffic[s].Messages += messages
	el.moved += int(bytes)
	t := &el.meters.of(r.backend)[s]
	t.Bytes += bytes
	t.Messages += messages
}

// send implements connections.
func (el *epollLoop) send(slot int32, r *record, s session.Side, p []byte) {
	h := &r.sides[s]
	if h.flags&isLost != 0 {
		return
	}
	if r.marks&hasTLS != 0 {
		p = el.seal(slot, s, p)
	}
	if h.pending != 0 {
		el.backlog.add(h.pending, p)
		return
	}
	n, e := eventloop.Send(h.fd, p)
	if e != 0 && e != syscall.EAGAIN {
		el.discard(slot, r, s)
		el.writeFailed(slot, r, s, e)
		return
	}
	if n < len(p) {
		h.pending = el.backlog.keep(p[n:], turn{slot, s}, el.Now())
		if el.waits(slot, r); el.backlog.isFull() {
			el.CallAgain()
		}
	}
}

// flush writes what was kept for s. When all of it is written, it reads the other
// side.
func (el *epollLoop) flush(slot int32, r *record, s session.Side) {
	h := &r.sides[s]
	n, e := eventloop.Send(h.fd, el.backlog.bytes(h.pending))
	if n > 0 {
		el.took(r, s)
	}
	switch {
	case e != 0 && e != syscall.EAGAIN:
		el.discard(slot, r, s)
		el.writeFailed(slot, r, s, e)
	case el.backlog.sent(h.pending, n):
		el.backlog.drop(h.pending)
		h.pending = 0
	default:
		return
	}
	if r.sides[s.Other()].flags&isReadable != 0 {
		el.read(slot, r, s.Other())
	}
}

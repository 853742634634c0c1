package relay

import (
	"syscall"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/session"
)

const (
	// firstRead is how much is read at first, and so what most sides that
	// stop taking bytes cost.
	firstRead = 64 << 10
	// headRead is how much is read behind a payload that was spliced. There
	// is a header in it, and the next payload may be spliced as well.
	headRead = 4 << 10
	// maxBacklog is how much a loop may have kept before it reads no more
	// than firstRead of any socket.
	maxBacklog = 16 << 20
)

// maxReads bounds how often one socket is read before the others have had
// their turn.
const maxReads = 16

// Ready implements eventloop.Owner.
func (el *epollLoop) Ready(slot int32, side session.Side, ev eventloop.Events) {
	r := el.at(slot)
	h := &r.half[side]
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
	if ev.Ended() && h.flags&isHeld != 0 {
		r.clientEnds(el.Now())
	}
	el.settle(slot, r)
}

// read carries over what the socket of s holds, as long as the other side
// takes it: while something waits to be written there, nothing is read here.
func (el *epollLoop) read(slot int32, r *record, s session.Side) {
	h, o := &r.half[s], &r.half[s.Other()]
	buf := el.Buf[:firstRead]
	full := false // it has much to say, and the other side takes it
	for range maxReads {
		if o.pending != 0 || h.flags&(isEOF|isLost|isHeld) != 0 {
			return
		}
		if r.phase >= turning && s == session.Client {
			buf = el.Buf[:r.upToBoundary(len(el.Buf))]
		}
		var n int
		var e syscall.Errno
		if full {
			if n, e = el.splice(slot, r, s); n > 0 {
				buf = el.Buf[:headRead]
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
		full = true
		if el.backlog.size < maxBacklog {
			buf = el.Buf
		}
	}
	el.readAgain(slot, r, s)
}

// readAgain has s read in the next iteration, if there may be something.
func (el *epollLoop) readAgain(slot int32, r *record, s session.Side) {
	if h := &r.half[s]; h.flags&(isReadable|isAgain) == isReadable {
		h.flags |= isAgain
		el.again = append(el.again, turn{slot, s})
		el.CallAgain()
	}
}

// Again implements eventloop.Owner.
func (el *epollLoop) Again() {
	turns := el.again
	el.again, el.spare = el.spare[:0], turns
	for _, t := range turns {
		if el.records[t.slot/chunkRecords] == nil {
			continue // its session has ended since, like all beside it
		}
		r := el.at(t.slot)
		if r.live && r.half[t.side].flags&isAgain != 0 {
			r.half[t.side].flags &^= isAgain
			el.read(t.slot, r, t.side)
			el.settle(t.slot, r)
		}
	}
	if len(el.looks) > 0 {
		el.advance()
	}
	el.callNext()
}

func (el *epollLoop) carry(slot int32, r *record, s session.Side, p []byte) {
	h := &r.half[s]
	bytes, messages := h.bytes, h.walker.Messages
	var out []byte
	if r.phase <= waiting {
		out = r.pass(s, p, el.Now(), &el.scratch, &el.engine.texts)
	} else {
		out = el.passMoving(slot, r, s, p)
	}
	el.traffic[s].Bytes += h.bytes - bytes
	el.traffic[s].Messages += h.walker.Messages - messages
	if len(out) > 0 {
		el.write(slot, r, s.Other(), out)
	}
}

// write sends p to s; what the socket does not take is kept.
func (el *epollLoop) write(slot int32, r *record, s session.Side, p []byte) {
	h := &r.half[s]
	if h.flags&isLost != 0 {
		return
	}
	if h.pending != 0 {
		el.backlog.add(h.pending, p)
		return
	}
	n, e := eventloop.Send(h.fd, p)
	if e != 0 && e != syscall.EAGAIN {
		el.writeFailed(slot, r, s, e)
		return
	}
	if n < len(p) {
		h.pending = el.backlog.keep(p[n:])
	}
}

// writeFailed gives s up, after what it said before its end where it has one.
func (el *epollLoop) writeFailed(slot int32, r *record, s session.Side, e syscall.Errno) {
	if e != syscall.EPIPE && e != syscall.ECONNRESET {
		r.lose(s, el.Now())
		return
	}
	r.unwritable(s, el.Now())
	r.half[s].flags |= isReadable | isEnded
	el.readAgain(slot, r, s)
}

// flush writes what was kept for s, and reads on from the other side once that
// is gone.
func (el *epollLoop) flush(slot int32, r *record, s session.Side) {
	h := &r.half[s]
	n, e := eventloop.Send(h.fd, el.backlog.bytes(h.pending))
	if n > 0 {
		h.lastIn = el.Now()
		r.carried(el.Now())
	}
	failed := e != 0 && e != syscall.EAGAIN
	if failed {
		el.writeFailed(slot, r, s, e)
	}
	if failed || el.backlog.sent(h.pending, n) {
		el.backlog.drop(h.pending)
		h.pending = 0
		if r.half[s.Other()].flags&isReadable != 0 {
			el.read(slot, r, s.Other())
		}
	}
}

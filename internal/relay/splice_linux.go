package relay

import (
	"syscall"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// minSplice is how much of a frame must be still to come for splicing it to
// cost less than copying it.
const minSplice = 32 << 10

// splicer is a loop's pipe, made when it is first needed. It is empty between
// any two calls: what a socket does not take is copied out of it at once, to
// where such bytes are always kept. So one is enough for all sessions, and
// bytes can't overtake each other.
type splicer struct {
	pipe eventloop.Pipe
	open bool
	off  bool // there is none to be had; until the next trim
}

func (sp *splicer) ready() bool {
	if !sp.open && !sp.off {
		var err error
		sp.pipe, err = eventloop.NewPipe()
		sp.open, sp.off = err == nil, err != nil
	}
	return sp.open
}

func (sp *splicer) close() {
	if sp.open {
		sp.pipe.Close()
	}
	sp.open, sp.off = false, true
}

// takeOut fills b with what is in the pipe, as much as is left in it.
func (sp *splicer) takeOut(b []byte) bool {
	for len(b) > 0 {
		n, e := sp.pipe.Read(b)
		if e != 0 || n == 0 {
			sp.close()
			return false
		}
		b = b[n:]
	}
	return true
}

func (sp *splicer) trim() { sp.off = false }

// unseen is how many bytes of those that come next from s can go on to the
// other side without being looked at, since they are payload.
func (r *record) unseen(s session.Side) uint64 {
	if r.half[s].flags&isDeaf != 0 || r.half[s.Other()].flags&(isMuted|isLost) != 0 {
		return 0
	}
	return r.half[s].walker.Payload()
}

// passUnseen is pass for n of the bytes that unseen told of.
func (r *record) passUnseen(s session.Side, n int, now eventloop.Tick) {
	h := &r.half[s]
	h.bytes += uint64(n)
	h.lastIn = now
	h.walker.Skip(uint64(n))
	r.carried(now)
	if s == session.Client {
		r.hold()
	}
}

// splice carries over some of what s has sent, where the stream stands in the
// payload of a large frame, and returns how much that was. 0 without an error
// means that it is to be read: splice can't tell an empty socket from one with
// urgent data, or not being allowed to from either.
func (el *epollLoop) splice(slot int32, r *record, s session.Side) (int, syscall.Errno) {
	left := r.unseen(s)
	if left < minSplice || !el.splicer.ready() {
		return 0, 0
	}
	most := len(el.Buf) // all of it may have to be kept
	if el.backlog.size >= maxBacklog {
		most = firstRead
	}
	n, e := el.splicer.pipe.Fill(r.half[s].fd, int(min(left, uint64(most))))
	switch {
	case e == syscall.EAGAIN:
		return 0, 0
	case isRefusal(e):
		el.splicer.close()
		return 0, 0
	case e != 0 || n == 0:
		return 0, e
	}
	messages := r.half[s].walker.Messages
	r.passUnseen(s, n, el.Now())
	el.traffic[s].Bytes += uint64(n)
	el.traffic[s].Messages += r.half[s].walker.Messages - messages
	el.drain(slot, r, s.Other(), n)
	return n, 0
}

// drain writes the n bytes that are in the pipe to s.
func (el *epollLoop) drain(slot int32, r *record, s session.Side, n int) {
	for n > 0 {
		sent, e := el.splicer.pipe.Drain(r.half[s].fd, n)
		if n -= sent; sent > 0 && e == 0 {
			continue
		}
		rest := el.Buf[:n]
		switch {
		case !el.splicer.takeOut(rest):
			r.lose(s, el.Now()) // its stream would have a hole
		case e == 0 || e == syscall.EAGAIN || isRefusal(e):
			el.write(slot, r, s, rest)
		default:
			el.writeFailed(slot, r, s, e)
		}
		return
	}
}

// isRefusal tells that a system doesn't splice for us, which says nothing of
// the connection: a sandbox, or a kernel short of memory.
func isRefusal(e syscall.Errno) bool {
	switch e {
	case syscall.EINVAL, syscall.ENOSYS, syscall.EPERM, syscall.EACCES, syscall.EOPNOTSUPP, syscall.EBADF, syscall.ENOMEM:
		return true
	}
	return false
}

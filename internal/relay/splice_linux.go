package relay

import (
	"math"
	"syscall"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// minSplice is how many bytes of a frame must be left so that splicing costs less
// than copying.
const minSplice = 32 << 10

// splicer is a loop's pipe, created when it is first needed. It is empty between
// any two calls: what a socket doesn't take is copied from the pipe to the backlog
// at once. So one pipe is enough for all sessions, and the order of bytes is kept.
type splicer struct {
	pipe eventloop.Pipe
	open bool
	off  bool // no pipe could be created, or it failed; until the next trim
}

// ready creates the pipe if necessary, and reports whether there is one.
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

// takeOut fills b from the pipe, which contains len(b) bytes.
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

// trim allows another attempt to create the pipe.
func (sp *splicer) trim() { sp.off = false }

// unseen is how many of the next bytes from s can be passed to the other side
// without being read, since they are payload or opaque.
func (r *record) unseen(s session.Side) uint64 {
	if r.marks&hasTLS != 0 || r.marks&countsBytes != 0 && s == session.Client || r.sides[s].flags&discardReads != 0 || r.sides[s.Other()].flags&(writeClosed|isLost) != 0 {
		return 0
	}
	if r.marks&isOpaque != 0 {
		return math.MaxUint64
	}
	return r.sides[s].walker.Payload()
}

// passUnseen is pass for n bytes, at most as many as unseen returned.
func (r *record) passUnseen(s session.Side, n int, now eventloop.Tick) {
	h := &r.sides[s]
	h.bytes += uint64(n)
	h.lastIn = now
	r.progressed(now)
	if r.marks&isOpaque != 0 {
		return
	}
	h.walker.Skip(uint64(n))
	if s == session.Client {
		r.hold()
	}
}

// splice passes on some bytes of s if its stream is inside the payload of a large
// frame, or opaque, and returns how many. 0 without an error means that s must be read:
// splice can't distinguish an empty socket from one with urgent data, or from a
// system that doesn't allow it.
func (el *epollLoop) splice(slot int32, r *record, s session.Side) (int, syscall.Errno) {
	left := r.unseen(s)
	if left < minSplice || !el.splicer.ready() {
		return 0, 0
	}
	most := len(el.Buf) // drain may have to copy everything into it
	if !el.readsMuch() {
		most = firstRead
	}
	n, e := el.splicer.pipe.Fill(r.sides[s].fd, int(min(left, uint64(most))))
	switch {
	case e == syscall.EAGAIN:
		return 0, 0
	case isRefusal(e):
		el.splicer.close()
		return 0, 0
	case e != 0 || n == 0:
		return 0, e
	}
	messages := r.sides[s].walker.Messages
	r.passUnseen(s, n, el.Now())
	el.count(r, s, uint64(n), r.sides[s].walker.Messages-messages)
	el.drain(slot, r, s.Other(), n)
	return n, 0
}

// drain writes the n bytes in the pipe to s.
func (el *epollLoop) drain(slot int32, r *record, s session.Side, n int) {
	for n > 0 {
		sent, e := el.splicer.pipe.Drain(r.sides[s].fd, n)
		if n -= sent; sent > 0 && e == 0 {
			continue
		}
		rest := el.Buf[:n]
		switch {
		case !el.splicer.takeOut(rest):
			r.lose(s, el.Now()) // bytes would be missing in its stream
		case e == 0 || e == syscall.EAGAIN || isRefusal(e):
			el.send(slot, r, s, rest)
		default:
			el.writeFailed(slot, r, s, e)
		}
		return
	}
}

// isRefusal reports that the system doesn't splice: a sandbox, or a kernel that is
// short of memory. The connection is not at fault.
func isRefusal(e syscall.Errno) bool {
	switch e {
	case syscall.EINVAL, syscall.ENOSYS, syscall.EPERM, syscall.EACCES, syscall.EOPNOTSUPP, syscall.EBADF, syscall.ENOMEM:
		return true
	}
	return false
}

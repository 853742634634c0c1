package relay

import (
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// Notices are pings about a planned move, for backends that asked for them
// (Start.Control, NewBackend.Control):
//
//	leave  to the old backend, instead of our Close. It finishes its work on
//	       what it has received, sends the results, and then closes with 1012.
//	       If that takes longer than the move may, our Close follows.
//	begin  to the new backend, before anything else: the old one sends nothing
//	       more, and this one may now send unasked.
//
// A server's library answers them with pongs, which are not passed on.
const (
	noticeLeave = "holdfast leave"
	noticeBegin = "holdfast begin"
	noticeSize  = len(noticeLeave)     // noticeBegin has the same
	noticeSame  = 2 + len("holdfast ") // bytes at the start of both pongs that are equal
)

// marks are the flags of a record that don't belong to one side.
type marks uint16

const (
	isForced    marks = 1 << iota // deadline has passed
	hasControl                    // the backend wants notices
	wantNotice                    // a notice must be sent: leave in drainingOld, begin otherwise
	owesLeave                     // the backend has not answered leave
	owesBegin                     // it has not answered begin
	holdsNotice                   // the walker holds the beginning of such an answer
	holdsLeave                    // and the answer is to leave
	hasTLS                        // engine's: a side speaks TLS
	isOurs                        // we decided to close: nothing that is received may delay it
	isOpaque                      // no frames, see opaque.go
	isLimited                     // the client must keep within a budget
	countsBytes                   // of bytes, too
	isThrottled                   // the client isn't read until budget.until
	slowBackend                   // limit is about the backend, not the client
	byToken                       // endAt is when the client's token expires

	// Those that stay when another backend takes the place of the present one.
	lastingMarks = isForced | hasTLS | isOurs | isLimited | countsBytes | isThrottled | byToken
)

// wants reports that inject has frames of our own for side s.
func (r *record) wants(s session.Side) bool {
	return r.sides[s].flags&(wantClose|wantPing) != 0 || s == session.Backend && r.marks&wantNotice != 0
}

// appendNotice appends the wanted notice. The stream to the backend must be between
// two frames.
func (r *record) appendNotice(out []byte) []byte {
	r.marks &^= wantNotice
	r.sides[session.Backend].flags |= isPinged
	if r.phase == drainingOld {
		r.marks |= owesLeave
		return frame.AppendPingText(out, true, noticeLeave)
	}
	r.marks |= owesBegin
	return frame.AppendPingText(out, true, noticeBegin)
}

// notified reports that the old backend has got leave, or will, and not our Close.
func (r *record) notified() bool {
	return r.phase == drainingOld && r.marks&hasControl != 0 && r.sides[session.Backend].flags&(wantClose|writeClosed) == 0
}

// isNotice reports whether the bytes that the walker holds, followed by p, may be
// the answer to a notice. The second byte, the length, distinguishes it from the
// answer to our other pings.
func (r *record) isNotice(p []byte) bool {
	switch held := r.sides[session.Backend].walker.Held(); {
	case r.marks&holdsNotice != 0:
		return true
	case r.marks&(owesLeave|owesBegin) == 0:
		return false
	case held == 0:
		return len(p) >= 2 && int(p[1]) == noticeSize
	default:
		return held == 1 && int(p[0]) == noticeSize
	}
}

// matchNotice is matchPong for the answer to a notice.
func (r *record) matchNotice(p []byte, now eventloop.Tick, out []byte) (rest, _ []byte) {
	w := &r.sides[session.Backend].walker
	if r.marks&holdsNotice == 0 {
		r.marks |= holdsNotice
		if r.marks &^= holdsLeave; r.marks&owesBegin == 0 {
			r.marks |= holdsLeave
		}
	}
	n, m := w.HoldPongText(p, r.heldNotice())
	if m == frame.Different && w.Held() == noticeSame && r.marks&(owesLeave|holdsLeave) == owesLeave {
		r.marks |= holdsLeave // the bytes so far fit both
		p = p[n:]
		n, m = w.HoldPongText(p, noticeLeave)
	}
	switch m {
	case frame.Same:
		// Begin is the latest, and its answer also stands for earlier ones
		// (RFC 6455 §5.5.3).
		r.marks &^= owesBegin
		if r.marks&holdsLeave != 0 {
			r.marks &^= owesLeave
		}
		r.onPong(session.Backend, uint64(2+noticeSize))
	case frame.Different:
		_, _, out = r.walk(session.Backend, w.ReleasePongText(nil, r.heldNotice()), 0, now, out, nil)
	}
	if m != frame.Undecided {
		r.marks &^= holdsNotice | holdsLeave
	}
	return p[n:], out
}

// heldNotice is the notice whose answer the walker holds.
func (r *record) heldNotice() string {
	if r.marks&holdsLeave != 0 {
		return noticeLeave
	}
	return noticeBegin
}

// onPong is called when an answer of that size to one of our pings has come. It is
// not passed on.
func (r *record) onPong(s session.Side, size uint64) {
	h := &r.sides[s]
	h.bytes -= size
	if h.owed == 0 && (s == session.Client || r.marks&(owesLeave|owesBegin) == 0) {
		h.flags &^= isPinged
	}
}

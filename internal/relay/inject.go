package relay

import (
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// inject appends to out the frames of our own that are wanted for side s, if the
// stream to it is at a place where they may be inserted.
func (r *record) inject(s session.Side, now eventloop.Tick, out []byte, t *texts) []byte {
	h, o := &r.sides[s], &r.sides[s.Other()]
	if !r.wants(s) {
		return out
	}
	if h.flags&(writeClosed|isLost) != 0 {
		if h.flags &^= wantClose | wantPing; s == session.Backend {
			r.marks &^= wantNotice
		}
		return out
	}
	atFrame := o.walker.AtFrame()
	if s == session.Backend && r.marks&wantNotice != 0 && atFrame {
		out = r.appendNotice(out)
	}
	if h.flags&wantPing != 0 {
		h.flags &^= wantPing
		if atFrame && (h.asked == 0 || r.phase == drainingOld) {
			// A slow reader may get several pings before it answers. They
			// have one nonce, so that any of its pongs answers them.
			if h.owed == 0 {
				h.pings++
			}
			h.owed = max(h.owed, h.owed+1) // stays at 255
			h.flags |= isPinged
			out = frame.AppendPing(out, s == session.Backend, r.nonce(s))
		}
	}
	if h.flags&wantClose == 0 {
		return out
	}
	// If the sender of a message is gone, the message will never end. Then the
	// Close may follow any of its fragments, as every control frame may (RFC
	// 6455 §5.4). In the middle of a frame it can't be sent at all.
	last := r.marks&isForced != 0 || o.flags&(isEOF|isLost|discardReads) != 0
	switch {
	case o.walker.AtMessage() || last && atFrame:
		h.flags = h.flags&^wantClose | writeClosed
		out = frame.AppendClose(out, s == session.Backend, r.closes[s].code, t.text(r.closes[s].reason))
		if r.code == 0 && r.cause != session.None { // a Close of a move isn't the session's
			r.code = r.closes[s].code
		}
		r.lastProgress = now
	case last:
		r.lose(s, now)
	}
	return out
}

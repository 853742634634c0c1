package relay

import (
	"encoding/binary"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/frame"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// hold stops reading the client if its stream stands between two messages.
func (r *record) hold() {
	c := &r.half[session.Client]
	if r.phase >= turning && r.phase <= leaving && c.walker.AtMessage() {
		c.flags |= isHeld
	}
}

// stops is where s is not to be walked on without a look.
func (r *record) stops(s session.Side) frame.Stop {
	switch {
	case r.phase <= waiting || r.phase == quitting:
		return 0
	case s == session.Client:
		return frame.StopAtMessage
	}
	return frame.StopAtClose
}

// passMoving is pass while the session is being moved. It may leave a rest of a
// client that is held now: to be passed before anything else of that client's
// once it no longer is.
func (r *record) passMoving(m *move, s session.Side, p []byte, now eventloop.Tick, scratch *[]byte, t *texts) (out, rest []byte) {
	h := &r.half[s]
	if h.flags&isDeaf != 0 {
		return nil, nil
	}
	h.lastIn = now
	if s == session.Backend && len(m.begun) > 0 {
		p = append(m.begun, p...)
		m.begun = nil
	}
	h.bytes += uint64(len(p))
	*scratch, rest = r.passSlow(m, s, p, now, (*scratch)[:0], t)
	return *scratch, rest
}

// oldCloses is given what the old backend says from its Close frame on, and
// returns what of that is still to be walked.
func (r *record) oldCloses(m *move, p []byte, now eventloop.Tick, out []byte) (rest, _ []byte) {
	h := &r.half[session.Backend]
	const head = 2
	if len(p) < head || p[1] <= frame.MaxControlPayload && len(p) < head+int(p[1]) {
		h.bytes -= uint64(len(p))
		m.begun = append([]byte(nil), p...)
		return nil, out
	}
	var code uint16
	if p[1] >= 2 {
		code = binary.BigEndian.Uint16(append(p[head:len(p):len(p)], 0, 0))
	}
	heard := r.half[session.Client].walker.AtMessage() && h.pending == 0 // all that the client has said
	malformed := p[1] > frame.MaxControlPayload || p[1] == 1
	if malformed || r.phase != leaving && !makesRoom(code) || r.phase == turning && !heard && r.plan&onLoss == 0 {
		_, _, out = r.walk(session.Backend, p, 0, now, out)
		return nil, out
	}
	h.bytes -= uint64(len(p))
	h.flags |= isClosed | isDeaf
	if heard {
		r.sendClose(session.Backend, CodeServiceRestart, Moved, r.forceAt)
	} else {
		h.flags = h.flags&^(wantPing|wantFin) | isLost | isMuted
		if r.phase == turning {
			r.plan = r.plan.because(session.Loss)
			r.forceAt = now + r.moveTimeout
		}
	}
	r.mustNotBeInside(now)
	return nil, out
}

// makesRoom: a backend that closes with this code, while its session is being
// moved, only does of itself what the move is about. Any other code is the
// application's word to the client, and the client's to hear.
func makesRoom(code uint16) bool {
	switch code {
	case 0, CodeGoingAway, CodeServiceRestart, CodeTryAgainLater:
		return true
	}
	return false
}

// upToBoundary is how much, at most, is to be read of a client
// whose next boundary is awaited: little may be read beyond it.
func (r *record) upToBoundary(most int) int {
	const usual = 4 << 10
	return int(min(max(usual, r.half[session.Client].walker.Payload()), uint64(most)))
}

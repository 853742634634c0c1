package relay

import (
	"encoding/binary"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// hold stops reading the client if its stream stands between two messages.
func (r *record) hold() {
	c := &r.sides[session.Client]
	if r.phase >= awaitingBoundary && r.phase <= drainingOld && c.walker.AtMessage() {
		c.flags |= readPaused
	}
}

// stops is where the walk of side s must stop.
func (r *record) stops(s session.Side) frame.Stop {
	switch {
	case r.phase <= queued || r.phase == aborting, r.phase == onProbation && s == session.Client:
		return 0
	case s == session.Client:
		return frame.StopAtMessage
	}
	return frame.StopAtClose
}

// passMoving is pass while the session is being moved. If the client is paused, it
// returns the rest of p, which must be passed before anything else from the client
// when that is no longer paused.
func (r *record) passMoving(m *move, s session.Side, p []byte, now eventloop.Tick, scratch *[]byte, t *texts, q *frame.Quota) (out, rest []byte) {
	h := &r.sides[s]
	if h.flags&discardReads != 0 {
		return nil, nil
	}
	h.lastIn = now
	if s == session.Backend && len(m.begun) > 0 {
		p = append(m.begun, p...)
		m.begun = nil
	}
	h.bytes += uint64(len(p))
	*scratch, rest = r.passSlow(m, s, p, now, (*scratch)[:0], t, q)
	return *scratch, rest
}

// onOldClose is called with what the old backend sent from its Close frame on. It
// returns what of that must still be walked.
func (r *record) onOldClose(m *move, p []byte, now eventloop.Tick, out []byte) (rest, _ []byte) {
	h := &r.sides[session.Backend]
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
	heard := r.sides[session.Client].walker.AtMessage() && h.pending == 0 // all that the client has said
	malformed := p[1] > frame.MaxControlPayload || p[1] == 1
	if r.phase == onProbation && !malformed && rejects(code) {
		r.rejected(len(p), now)
		return nil, out
	}
	if r.phase == onProbation || malformed || !agreesToMove(code) && !r.answersClose(code) || r.phase == awaitingBoundary && !heard && r.plan&onLoss == 0 {
		_, _, out = r.walk(session.Backend, p, 0, now, out, nil)
		return nil, out
	}
	h.bytes -= uint64(len(p))
	h.flags |= isClosed | discardReads
	if heard {
		r.sendClose(session.Backend, CodeServiceRestart, Moved, r.deadline)
	} else {
		h.flags = h.flags&^(wantPing|wantFin) | isLost | writeClosed
		if r.phase == awaitingBoundary {
			r.plan = r.plan.because(session.Loss)
			r.deadline = now + r.moveTimeout
		}
	}
	r.endIfInside(now)
	return nil, out
}

// answersClose reports that the old backend's Close, for which agreesToMove is
// false, is its answer to ours and so ends the move. Some servers answer any Close
// with 1000 (aiohttp, for one). But 1000 may also be the application's own Close
// for the client, sent before ours was read. A backend answers our ping, which went out just before
// our Close, before that Close: a 1000 that comes before the pong has crossed
// ours. Any other code is chosen by the application, even in an answer. If a ping
// of the client is unanswered, it replaces ours, see noteAnswers.
func (r *record) answersClose(code uint16) bool {
	b := &r.sides[session.Backend]
	return code == codeNormal && r.phase == drainingOld && b.flags&(writeClosed|isPinged) == writeClosed && b.asked == 0
}

// agreesToMove reports that a backend which closes with this code while its session
// is being moved does what the move wants, by itself or as the answer to our Close,
// whose code it echoes. Any other code is the application's message to the client.
func agreesToMove(code uint16) bool {
	switch code {
	case 0, CodeGoingAway, CodeServiceRestart, CodeTryAgainLater:
		return true
	}
	return false
}

// upToBoundary is how much may be read at once from a client whose next boundary is
// awaited: little should be read beyond it.
func (r *record) upToBoundary(most int) int {
	const usual = 4 << 10
	return int(min(max(usual, r.sides[session.Client].walker.Payload()), uint64(most)))
}

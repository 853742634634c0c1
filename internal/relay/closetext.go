package relay

import (
	"strings"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// closeTexts has the payloads of Close frames that were the first of their
// sessions, by slot. An entry exists only from such a frame to the end of its
// session, so records need no room for it.
type closeTexts map[int32][]byte

// add takes the payload of a Close frame from out, the bytes that were just passed on
// from side s of the session in slot, whose record is r.
func (t *closeTexts) add(slot int32, r *record, s session.Side, out []byte) {
	const code = 2 // bytes before the text, RFC 6455 §5.5.1
	w := &r.sides[s].walker
	if !w.InClose() && (r.sides[s].flags&isClosed == 0 || r.cause == session.None) {
		return // also if the Close ended a move: the head before it is another frame's
	}
	if w.ControlSize() <= code {
		return
	}
	if r.cause != session.None && r.cause != [2]session.Cause{session.ClientClosed, session.BackendClosed}[s] {
		return // it answers another Close
	}
	if *t == nil {
		*t = closeTexts{}
	}
	(*t)[slot] = w.ControlPayload((*t)[slot], out)
}

// take returns the text of a session's first Close frame, and deletes it.
func (t *closeTexts) take(slot int32) string {
	payload, ok := (*t)[slot]
	if !ok {
		return ""
	}
	if delete(*t, slot); len(*t) == 0 {
		*t = nil // a map never releases memory by itself
	}
	return strings.ToValidUTF8(string(payload[min(2, len(payload)):]), "\uFFFD")
}

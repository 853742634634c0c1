package relay

import (
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// A session of opaque bytes (Start.Opaque) has no frames. All bytes pass as they are,
// and only the ends of the two streams have a meaning:
//
//	open ──▶ half-closed ──▶ closing ──▶ settled
//	         one side has     both have, or one was lost, or
//	         ended its stream we end both: the cause is set
//
// A half-closed session has no cause yet: the other side may go on for as long as it
// likes, and is subject to the same timeouts and requests as before. Where a session of
// frames sends a Close, this one ends the stream (sendClose).

// passOpaque is pass for a session of opaque bytes.
func (r *record) passOpaque(s session.Side, p []byte, now eventloop.Tick) []byte {
	h := &r.sides[s]
	if h.flags&discardReads != 0 {
		return nil
	}
	h.bytes += uint64(len(p))
	h.lastIn = now
	if r.sides[s.Other()].flags&writeClosed != 0 {
		return nil // read all the same, since closing with unread bytes resets the connection
	}
	r.progressed(now)
	return p
}

// streamEnded is called when s has ended its stream or is lost.
func (r *record) streamEnded(s session.Side, now eventloop.Tick) {
	h, o := &r.sides[s], &r.sides[s.Other()]
	switch {
	case h.flags&isLost != 0:
		r.end(lost[s], now)
	case o.flags&isEOF != 0:
		r.end(closed[s.Other()], now) // it was the first
	}
	if o.flags&isLost == 0 {
		o.flags |= wantFin
	}
}

// refusesBytes is called when a write has failed since the peer has closed the
// connection of s, or with reset has reset it. What s sent before is still read.
func (r *record) refusesBytes(s session.Side, reset bool, now eventloop.Tick) {
	h := &r.sides[s]
	if h.flags&isEOF != 0 {
		r.lose(s, now) // in both directions
		return
	}
	h.flags = h.flags&^wantFin | writeClosed
	cause := closed[s]
	if reset {
		cause = lost[s]
	}
	r.end(cause, now)
}

// isCut reports that the stream to s lacks its end, since the other side of a session
// of opaque bytes was lost. TLS must not say then that it is complete (RFC 8446 §6.1).
func (r *record) isCut(s session.Side) bool {
	return r.marks&isOpaque != 0 && r.sides[s.Other()].flags&isLost != 0
}

// closed and lost are the causes that say that a side was the first to end its stream,
// or was lost.
var (
	closed = [2]session.Cause{session.ClientClosed, session.BackendClosed}
	lost   = [2]session.Cause{session.ClientLost, session.BackendLost}
)

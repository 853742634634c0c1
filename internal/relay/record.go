package relay

import (
	"cmp"
	"encoding/binary"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// record is the state of a session. It is plain data of a fixed size, without
// pointers, so that an idle session costs nothing else and could be handed to
// another process. It makes the decisions; the driver and the engine carry them
// out.
//
// The states of a session:
//
//	open ──▶ closing ──▶ settled
//
// closing begins with the first of these: a Close frame or EOF from a peer, a
// lost connection, a protocol violation, or our own decision (a timeout, a
// request). This sets the cause. A session is settled when nothing more is
// expected from either side and everything has been written. If the linger time
// passes first, its connections are cut. An open session can be moved from one
// backend to another, see phase.
type record struct {
	sides  [2]side         // by session.Side
	closes [2]plannedClose // those for wantClose, by session.Side; the client's is also that for requestAt

	started int64 // Unix nanoseconds
	id      session.ID
	ip      [16]byte
	port    uint16
	code    uint16 // of the first Close frame
	backend uint32
	route   uint32

	// lastProgress is when bytes of a message were last passed on, see
	// quietSince. While the session is being moved or closed, all bytes count.
	// The linger time of a closing session counts from here. Each step of the
	// end sets it again; if we decided to close, nothing else does.
	lastProgress eventloop.Tick
	endAt        eventloop.Tick // when Limits.Lifetime or the client's token is over; 0 is never
	requestAt    eventloop.Tick // when a request wants the session moved, or the client's of closes sent; 0 is never
	deadline     eventloop.Tick // of a Close that waits for the end of a message, or of the phase of a move

	acked    [2]uint32 // engine's: bytes acknowledged at the last call of taking, by session.Side
	timeouts uint16    // number of the session's set, see timeoutSets
	cause    session.Cause
	limit    session.Limit // for which a side was too slow
	marks    marks
	live     bool // the record is in use; set by the driver and the engine

	// For moves.
	moveTimeout eventloop.Tick
	phase       phase
	plan        plan
	moves       uint8         // how many have searched for a backend; stays at 255
	failure     session.Cause // of the end, if the move fails and the old backend is gone
}

// side is one side of a session: what came from it, and what must be done with
// its connection.
type side struct {
	walker frame.Walker // of the bytes from this side
	bytes  uint64       // from this side, without the pongs that answer our pings

	lastIn eventloop.Tick // when this side last sent bytes, or took bytes that waited for it
	pingAt eventloop.Tick // when we last pinged it, or last tried to; see also probesDue

	fd      int32 // engine's
	pending int32 // engine's: the buffer with bytes for this side; 0 is none

	flags flags
	pings uint16 // how many nonces our pings have used
	owed  uint8  // pongs to our pings that have not come; stays at 255

	// asked is how many pings of the other side were passed to this one and are
	// unanswered, as far as we can tell. askedSum is a checksum of the last
	// one's payload. See noteAnswers.
	asked    uint8
	askedSum uint16
}

// plannedClose is a Close frame that will be sent, and the cause of that.
type plannedClose struct {
	code   uint16
	reason Reason
	cause  session.Cause
}

type flags uint16

const (
	// What came from this side.
	isEOF        flags = 1 << iota // it will send nothing more
	isLost                         // its connection can't be used any more
	isClosed                       // its Close frame was received
	discardReads                   // what else it sends is thrown away

	// What goes to this side.
	writeClosed // its last frame, a Close, was sent: nothing may follow
	hasLingered // the linger time has passed once
	wantClose   // the one in closes must be sent at the next boundary
	wantPing
	wantFin // its stream must be shut down when everything is written
	finSent
	isPinged // one of our pings is unanswered

	// The engine's.
	isReadable // there may be bytes for which no event will come
	isEnded    // an event has reported its end: read on until it comes
	isAgain    // it is on the list of sides to read again

	readPaused // only for the client: it isn't read, since the session is being moved

	isViolator // it violated RFC 6455; fail is called when the other side has had time to answer its earlier messages
)

// newRecord is the record of a session that starts. Its timeouts are taken from sets.
func newRecord(s *Start, now eventloop.Tick, sets *timeoutSets) record {
	limits := s.limits()
	r := record{
		id:      s.Info.ID,
		ip:      s.Info.Client.Addr().As16(),
		port:    s.Info.Client.Port(),
		started: s.Info.Started.UnixNano(),
		backend: s.Info.Backend,
		route:   s.Info.Route,

		timeouts:     sets.take(limits.timeouts()),
		lastProgress: now,
	}
	r.moveTimeout = max(1, eventloop.Ticks(cmp.Or(s.MoveTimeout, defaultMoveTimeout)))
	if s.Opaque {
		r.marks |= isOpaque
		if s.Limits.KeepaliveInterval > 0 {
			r.sides[session.Client].pingAt = now + eventloop.Ticks(probesAfter)
		}
	}
	if s.Movable {
		r.plan |= movable
		if s.OnLoss {
			r.plan |= onLoss
		}
	}
	if s.Movable && s.Control {
		r.marks |= hasControl
	}
	if s.Limits.Lifetime > 0 {
		r.endAt = now + eventloop.Ticks(s.Limits.Lifetime)
	}
	r.expireWithToken(s.TokenExpires, now)
	r.sides[session.Client].walker.Masked = true
	for i := range r.sides {
		r.sides[i].lastIn = now
		r.sides[i].walker.Rules = s.Rules
		if s.Limits.PassFrames {
			r.sides[i].walker.Rules |= frame.AllowAll
		}
	}
	r.marks |= limits.marks()
	return r
}

// pass returns the bytes to write to the other side after p was received from
// side s, including frames of our own. Usually that is p or a part of it,
// otherwise *scratch, which pass may use and grow. What comes must keep within q,
// unless it is nil.
func (r *record) pass(s session.Side, p []byte, now eventloop.Tick, scratch *[]byte, t *texts, q *frame.Quota) []byte {
	if r.marks&isOpaque != 0 {
		return r.passOpaque(s, p, now)
	}
	h, o := &r.sides[s], &r.sides[s.Other()]
	if h.flags&discardReads != 0 {
		return nil
	}
	h.bytes += uint64(len(p))
	h.lastIn = now
	if h.flags&isPinged != 0 || o.flags&(wantClose|writeClosed) != 0 {
		*scratch, _ = r.passSlow(nil, s, p, now, (*scratch)[:0], t, q)
		return *scratch
	}
	n, ev := h.walker.WalkWithin(p, frame.StopAfterPing, q)
	for ev == frame.AfterPing {
		r.noteAnswers(s)
		var more int
		more, ev = h.walker.WalkWithin(p[n:], frame.StopAfterPing, q)
		n += more
	}
	r.passed(s, now)
	r.walked(s, ev, len(p)-n, now)
	return p[:n]
}

// passSlow is pass for when more is needed than counting frames: a pong that
// answers our ping must be removed, our Close must be inserted, or the bytes must
// be walked but not passed on, since our Close was already sent. With a move m it
// may return a rest, see passMoving.
func (r *record) passSlow(m *move, s session.Side, p []byte, now eventloop.Tick, out []byte, t *texts, q *frame.Quota) (_, rest []byte) {
	h, o := &r.sides[s], &r.sides[s.Other()]
	atPong := h.walker.Held() > 0
	for len(p) > 0 && h.flags&(discardReads|readPaused) == 0 {
		out = r.inject(s.Other(), now, out, t)
		if atPong {
			p, out = r.matchPong(s, p, now, out, q)
			atPong = false
			continue
		}
		var stop frame.Stop
		if o.flags&wantClose != 0 {
			stop |= frame.StopAtMessage
		}
		if h.flags&isPinged != 0 {
			stop |= frame.StopAtPong
		}
		if m != nil {
			stop |= r.stops(s)
		}
		var n int
		var ev frame.Event
		n, ev, out = r.walk(s, p, stop, now, out, q)
		p, atPong = p[n:], ev == frame.AtPong
		if m == nil {
			continue
		}
		if ev == frame.AtClose {
			p, out = r.onOldClose(m, p, now, out)
		}
		if s == session.Client {
			r.hold()
		}
	}
	if h.flags&readPaused != 0 {
		rest = p
		h.bytes -= uint64(len(rest))
	}
	return r.inject(s.Other(), now, out, t), rest
}

// walk walks p, which came from s, up to an event. It appends the walked bytes to
// out, unless the other side may get nothing more.
func (r *record) walk(s session.Side, p []byte, stop frame.Stop, now eventloop.Tick, out []byte, q *frame.Quota) (int, frame.Event, []byte) {
	h, o := &r.sides[s], &r.sides[s.Other()]
	n, ev := h.walker.WalkWithin(p, stop|frame.StopAfterPing, q)
	if n > 0 && o.flags&writeClosed == 0 {
		out = append(out, p[:n]...)
		r.passed(s, now)
		if ev == frame.AfterPing {
			r.noteAnswers(s)
		}
	}
	r.walked(s, ev, len(p)-n, now)
	return n, ev, out
}

// walked handles an event. The last rest bytes that came from s were not walked.
func (r *record) walked(s session.Side, ev frame.Event, rest int, now eventloop.Tick) {
	switch ev {
	case frame.Closed:
		r.onClose(s, now)
	case frame.Broken:
		h := &r.sides[s]
		h.walker.SetFaultEnd(h.bytes - uint64(rest))
		r.onViolation(s, now)
	}
}

// noteAnswers notes a ping or a pong that was passed from s to the other side.
//
// A peer may answer only the latest ping it has received (RFC 6455 §5.5.3). So we
// don't ping a side that has not answered a ping of the other side: it might
// answer only our ping, and we don't pass that pong on. The other side's ping
// shows just as well whether it is alive. The pong for a ping of the other side
// that follows ours is always passed on.
func (r *record) noteAnswers(s session.Side) {
	h, o := &r.sides[s], &r.sides[s.Other()]
	switch ping, sum := h.walker.LastPing(); {
	case ping:
		o.asked, o.askedSum = max(o.asked, o.asked+1), sum // stays at 255
	case sum == h.askedSum:
		h.asked = 0 // this answers all earlier ones too
	case h.asked > 0:
		h.asked--
	}
}

// matchPong compares the bytes that the walker holds, followed by p, with the pong
// that answers our ping. If they turn out to be another frame, they are walked and
// passed on. It returns the rest of p.
func (r *record) matchPong(s session.Side, p []byte, now eventloop.Tick, out []byte, q *frame.Quota) (rest, _ []byte) {
	h := &r.sides[s]
	if s == session.Backend && r.isNotice(p) {
		return r.matchNotice(p, now, out)
	}
	n, m := h.walker.HoldPong(p, r.nonce(s))
	switch m {
	case frame.Same:
		h.owed--
		r.onPong(s, uint64(frame.PongSize(s == session.Client)))
	case frame.Different:
		var kept [frame.MaxPong]byte
		_, _, out = r.walk(s, h.walker.ReleasePong(kept[:0], r.nonce(s)), 0, now, out, q) // it is within one frame
	}
	return p[n:], out
}

// nonce is the payload of our latest pings to s. The session's ID can't be derived
// from it.
func (r *record) nonce(s session.Side) uint64 {
	x := binary.LittleEndian.Uint64(r.id[:]) ^ uint64(binary.LittleEndian.Uint32(r.id[8:]))<<20
	x += uint64(r.sides[s].pings)<<1 | uint64(s)
	x ^= x >> 33 // the finaliser of MurmurHash3
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// passed notes that walked bytes of s were passed on.
func (r *record) passed(s session.Side, now eventloop.Tick) {
	if r.sides[s].walker.SawData() || r.cause != session.None || r.phase != idle {
		r.progressed(now)
	}
}

// progressed notes that bytes of messages were passed on, or that a side took
// bytes that waited for it.
func (r *record) progressed(now eventloop.Tick) {
	if r.marks&isOurs == 0 {
		r.lastProgress = now
	}
}

package relay

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/frame"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// record is a session. It is plain data of a fixed size, without pointers, so
// that an idle session costs nothing else and can be handed to another
// process. It decides; the engine that owns it moves the bytes.
//
// A session's life, by what its record says:
//
//	open ──▶ closing ──▶ settled
//
// closing begins with the first of: a Close frame or EOF from a peer, a lost
// connection, broken framing, or our own decision (a timeout, an Order). That
// first thing is the cause. A session is settled when nothing more is awaited
// from either side and everything has been written; it is cut when the linger
// time passes first. While it is open it may be moved from one backend to
// another, see phase.
type record struct {
	half [2]half // by session.Side

	started int64 // Unix nanoseconds
	id      session.ID
	ip      [16]byte
	port    uint16
	code    uint16 // of the first Close frame
	backend uint32
	route   uint32

	idle, interval, timeout eventloop.Tick // Limits

	// moved is when bytes were last carried over. Idle is counted from here;
	// while closing linger is, which begins anew with every step of the end
	// and, where that was our decision, with those alone.
	moved   eventloop.Tick
	endAt   eventloop.Tick // when it has reached Limits.Lifetime; 0 is never
	closeAt eventloop.Tick // when an Order wants the client's half.want sent; 0 is never
	forceAt eventloop.Tick // when a wanted Close stops waiting for a message's end

	cause  session.Cause
	ours   bool // the end was our decision: nothing that comes may put it off
	forced bool // forceAt has passed
	live   bool // engine's: the record is in use

	// Of being moved.
	moveTimeout eventloop.Tick
	phase       phase
	plan        plan
	moves       uint8         // for which a backend was looked for
	failure     session.Cause // of the end, should the move fail with the old backend gone
}

// half is one side: what came from it, and what is wanted of its connection.
type half struct {
	walker frame.Walker // of the bytes that come from this side
	bytes  uint64       // from this side, without pongs swallowed

	lastIn eventloop.Tick // when bytes last came from, or were last taken by, this side
	pingAt eventloop.Tick // when it was last pinged, or that was last tried
	acked  uint32         // engine's: bytes acknowledged at the last look, or when a write began

	fd      int32 // engine's
	pending int32 // engine's: number of the buffer with bytes for this side; 0 is none

	flags flags
	want  closeOrder // the Close that wantClose, or closeAt, is about
	pings uint16     // how many nonces its pings have used
	owed  uint8      // pongs to pings of ours that have not come
}

// closeOrder is a Close frame that is to be sent, and why.
type closeOrder struct {
	code   uint16
	reason Reason
	cause  session.Cause
}

type flags uint16

const (
	// What came from this side.
	isEOF    flags = 1 << iota // it will send nothing more
	isLost                     // its connection is of no more use
	isClosed                   // its Close frame has come
	isDeaf                     // what still comes is thrown away unseen

	// What goes to this side.
	isMuted     // its last frame, a Close, has been sent: nothing may follow
	hasLingered // linger has passed once
	wantClose   // half.want is to be sent at the next boundary
	wantPing
	wantFin // its stream is to be shut once all is written
	finSent
	isPinged // a ping of ours is unanswered

	// The engine's.
	isReadable // there may be bytes that no event will tell of
	isEnded    // an event told of its end: read on until it comes
	isAgain    // it is on the list of those to be read again

	isHeld // the client's alone: it isn't read, its session is being moved
)

func newRecord(s *Start, now eventloop.Tick) record {
	r := record{
		id:      s.Info.ID,
		ip:      s.Info.Client.Addr().As16(),
		port:    s.Info.Client.Port(),
		started: s.Info.Started.UnixNano(),
		backend: s.Info.Backend,
		route:   s.Info.Route,

		idle:     eventloop.Ticks(s.Limits.Idle),
		interval: eventloop.Ticks(s.Limits.KeepaliveInterval),
		timeout:  eventloop.Ticks(s.Limits.KeepaliveTimeout),
		moved:    now,
	}
	r.moveTimeout = max(1, eventloop.Ticks(cmp.Or(s.MoveTimeout, DefaultMoveTimeout)))
	if s.Movable {
		r.plan |= movable
		if s.OnLoss {
			r.plan |= onLoss
		}
	}
	if s.Limits.Lifetime > 0 {
		r.endAt = now + eventloop.Ticks(s.Limits.Lifetime)
	}
	r.half[session.Client].walker.Masked = true
	for i := range r.half {
		r.half[i].lastIn = now
	}
	return r
}

func (r *record) info() session.Info {
	return session.Info{
		ID:      r.id,
		Client:  netip.AddrPortFrom(netip.AddrFrom16(r.ip).Unmap(), r.port),
		Backend: r.backend,
		Route:   r.route,
		Started: time.Unix(0, r.started),
	}
}

func (r *record) summary() session.Summary {
	i := r.info()
	s := session.Summary{Info: i, Cause: r.cause, Code: r.code, Duration: time.Since(i.Started)}
	for i := range r.half {
		s.From[i] = session.Traffic{Messages: r.half[i].walker.Messages, Bytes: r.half[i].bytes}
	}
	return s
}

// pass takes p, which came from side s, and returns what of it, and of our own
// frames, is to be written to the other side: p or a part of it in the usual
// case, else *scratch, which it may use and grow.
func (r *record) pass(s session.Side, p []byte, now eventloop.Tick, scratch *[]byte, t *texts) []byte {
	h, o := &r.half[s], &r.half[s.Other()]
	if h.flags&isDeaf != 0 {
		return nil
	}
	h.bytes += uint64(len(p))
	h.lastIn = now
	if h.flags&isPinged != 0 || o.flags&(wantClose|isMuted) != 0 {
		*scratch, _ = r.passSlow(nil, s, p, now, (*scratch)[:0], t)
		return *scratch
	}
	r.carried(now)
	n, ev := h.walker.Walk(p, 0)
	r.walked(s, ev, now)
	return p[:n]
}

// passSlow is pass while more than frame counting is to be done: a pong of
// ours to be swallowed, a Close of ours to be put in, or all of it to be
// walked but not carried over, since a Close of ours has gone before. With a
// move m it may leave a rest, see passMoving.
func (r *record) passSlow(m *move, s session.Side, p []byte, now eventloop.Tick, out []byte, t *texts) (_, rest []byte) {
	h, o := &r.half[s], &r.half[s.Other()]
	atPong := h.walker.Held() > 0
	for len(p) > 0 && h.flags&(isDeaf|isHeld) == 0 {
		out = r.inject(s.Other(), now, out, t)
		if atPong {
			p, out = r.matchPong(s, p, now, out)
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
		n, ev, out = r.walk(s, p, stop, now, out)
		p, atPong = p[n:], ev == frame.AtPong
		if m == nil {
			continue
		}
		if ev == frame.AtClose {
			p, out = r.oldCloses(m, p, now, out)
		}
		if s == session.Client {
			r.hold()
		}
	}
	if h.flags&isHeld != 0 {
		rest = p
		h.bytes -= uint64(len(rest))
	}
	return r.inject(s.Other(), now, out, t), rest
}

// walk walks p, which came from s, up to an event, and appends what was walked
// to out unless the other side may get nothing more.
func (r *record) walk(s session.Side, p []byte, stop frame.Stop, now eventloop.Tick, out []byte) (int, frame.Event, []byte) {
	h, o := &r.half[s], &r.half[s.Other()]
	n, ev := h.walker.Walk(p, stop)
	if n > 0 && o.flags&isMuted == 0 {
		out = append(out, p[:n]...)
		r.carried(now)
	}
	r.walked(s, ev, now)
	return n, ev, out
}

func (r *record) walked(s session.Side, ev frame.Event, now eventloop.Tick) {
	switch ev {
	case frame.Closed:
		r.closeCame(s, now)
	case frame.Broken:
		r.broke(s, now)
	}
}

// matchPong compares p, or what is held and p, with the pong that answers our
// ping. What turns out to be another frame is walked and carried on. It returns
// what is left of p.
func (r *record) matchPong(s session.Side, p []byte, now eventloop.Tick, out []byte) (rest, _ []byte) {
	h := &r.half[s]
	n, m := h.walker.HoldPong(p, r.nonce(s))
	switch m {
	case frame.Same:
		if h.owed--; h.owed == 0 {
			h.flags &^= isPinged
		}
		h.bytes -= uint64(frame.PongSize(s == session.Client))
	case frame.Different:
		var kept [frame.MaxPong]byte
		_, _, out = r.walk(s, h.walker.ReleasePong(kept[:0], r.nonce(s)), 0, now, out) // it is within one frame
	}
	return p[n:], out
}

// nonce is what our latest pings to s carry. It says nothing of the id.
func (r *record) nonce(s session.Side) uint64 {
	x := binary.LittleEndian.Uint64(r.id[:]) ^ uint64(binary.LittleEndian.Uint32(r.id[8:]))<<20
	x += uint64(r.half[s].pings)<<1 | uint64(s)
	x ^= x >> 33 // the finaliser of MurmurHash3
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// carried notes that bytes were carried over.
func (r *record) carried(now eventloop.Tick) {
	if !r.ours {
		r.moved = now
	}
}

// inject appends to out the frames that are wanted for side s, as far as the
// stream towards it stands at a place for them.
func (r *record) inject(s session.Side, now eventloop.Tick, out []byte, t *texts) []byte {
	h, o := &r.half[s], &r.half[s.Other()]
	if h.flags&(wantClose|wantPing) == 0 {
		return out
	}
	if h.flags&(isMuted|isLost) != 0 {
		h.flags &^= wantClose | wantPing
		return out
	}
	atFrame := o.walker.AtFrame()
	if h.flags&wantPing != 0 {
		h.flags &^= wantPing
		if atFrame {
			// A slow reader may be sent another before its answer comes;
			// with one nonce for all of these, so may their answers be.
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
	// Nothing will end the message that is under way where its sender is
	// gone: then a Close may stand between two of its fragments, as any
	// control frame may (RFC 6455 §5.4), and in the middle of a frame it
	// can't be sent at all.
	last := r.forced || o.flags&(isEOF|isLost|isDeaf) != 0
	switch {
	case o.walker.AtMessage() || last && atFrame:
		h.flags = h.flags&^wantClose | isMuted
		out = frame.AppendClose(out, s == session.Backend, h.want.code, t.of(h.want.reason))
		if r.code == 0 && r.cause != session.None { // not one that only ends its part in the session
			r.code = h.want.code
		}
		r.moved = now
	case last:
		r.lose(s, now)
	}
	return out
}

package relay

import (
	"errors"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// connections is what a driver needs of its engine: the two connections of each
// session, a timer, and tasks beside the session. A session is named by its
// slot, which the driver only passes on. Methods that take a side act on its
// connection, and none of them calls the driver.
type connections interface {
	Now() eventloop.Tick

	// send writes p to side s. If the socket doesn't take all of it, the engine
	// keeps the rest and sets side.pending until that is written.
	send(slot int32, r *record, s session.Side, p []byte)
	// discard drops what is kept for a lost side and resets side.pending.
	discard(slot int32, r *record, s session.Side)
	// shutdown ends the stream to side s, for which nothing is pending.
	shutdown(slot int32, r *record, s session.Side)
	// hangUp closes the connection of side s before the end of its session. It
	// may be called again.
	hangUp(slot int32, r *record, s session.Side)
	// resume reads side s in a moment, if there may be something to read.
	resume(slot int32, r *record, s session.Side)
	// taking reports whether side s, which has sent nothing for long, has taken
	// bytes since the last call.
	taking(slot int32, r *record, s session.Side) bool
	// probe turns TCP's keepalive on for both connections. It does nothing to one
	// that isn't TCP.
	probe(slot int32, r *record, c net.KeepAliveConfig)
	// count adds to the traffic of the engine and of the session's backend.
	count(r *record, s session.Side, bytes, messages uint64)
	// schedule sets the session's timer, which calls driver.expired once. hasten does
	// so only if it would expire later or is not set.
	schedule(slot int32, r *record, at eventloop.Tick)
	hasten(slot int32, r *record, at eventloop.Tick)
	// budget is that of a session with isLimited.
	budget(slot int32) *budget
	// waiting is since when bytes wait for side s, for which some are pending.
	waiting(slot int32, r *record, s session.Side) eventloop.Tick
	// remove closes both connections and frees the slot. The record is not live
	// after that.
	remove(slot int32, r *record)

	// enqueue puts a session into the reattach queue, which calls
	// driver.dequeued at its turn; ahead is for sessions whose clients wait.
	enqueue(slot int32, ahead bool)
	// leaveQueue gives back the place that driver.dequeued has taken.
	leaveQueue()
	// advanceSoon makes the engine call driver.advance soon, outside all other calls.
	advanceSoon(slot int32)
	// spawn runs work in a task, and then done, which may call the driver.
	// parent is for Network.Dial. cancel makes everything fail that work waits
	// for. ok is false if there are no tasks any more.
	spawn(slot int32, work func(parent transport.Conn), done func()) (cancel func(), ok bool)
	// release takes over a connection that was dialled with parent.
	release(parent, c transport.Conn) (dialled, error)
	// attach closes the connection to the backend and puts d in its place. It
	// returns what was read of d, and reads more.
	attach(slot int32, r *record, d dialled) (early []byte, err error)
}

// dialled is a connection to a new backend before its session has it.
type dialled interface{ Close() error }

// driver carries out what the records of an engine's sessions decide. It is the
// same for both engines: an engine reports what has happened to a session's
// connections (carry, record.eof, record.lose, took, writeFailed, expired), then
// calls settle, and does what the driver asks of its connections. One goroutine
// at a time may call a driver.
type driver struct {
	conns      connections
	times      ticks
	texts      *texts
	reattacher Reattacher // nil if no session is moved
	ended      Ended
	log        *slog.Logger

	moves map[int32]*move // by slot, of sessions that are not idle
	// abandoned has searches that were given up and have not returned, by slot.
	// Their sessions begin no other move.
	abandoned  map[int32]*search
	closeTexts closeTexts
	tlsErrors  tlsErrors
	scratch    []byte
	injected   []byte
}

// newRecord is the record of a session that starts.
func (d *driver) newRecord(s *Start) record {
	r := newRecord(s, d.conns.Now(), d.times.sets)
	if d.reattacher == nil {
		r.plan = 0
	}
	r.live = true
	return r
}

// carry passes on p, which came from side s.
func (d *driver) carry(slot int32, r *record, s session.Side, p []byte) {
	h := &r.sides[s]
	bytes, messages := h.bytes, h.walker.Messages
	b, q := d.budgetOf(slot, r, s), (*frame.Quota)(nil)
	if b != nil {
		q = b.begin(d.conns.Now())
	}
	var out []byte
	if r.phase <= queued {
		out = r.pass(s, p, d.conns.Now(), &d.scratch, d.texts, q)
	} else {
		out = d.carryMoving(slot, r, s, p, q)
	}
	if b != nil {
		d.charge(slot, r, b, int64(h.bytes-bytes))
	}
	d.conns.count(r, s, h.bytes-bytes, h.walker.Messages-messages)
	if h.walker.InClose() || h.flags&isClosed != 0 {
		d.closeTexts.add(slot, r, s, out)
	}
	if len(out) > 0 {
		d.conns.send(slot, r, s.Other(), out)
	}
}

// lose gives up side s, whose connection has failed with err.
func (d *driver) lose(slot int32, r *record, s session.Side, err error) {
	if d.tlsErrors.add(slot, r, s, err) {
		d.log.Debug("the TLS of a session has failed", "id", r.id.String(), "side", s.String(), "error", err)
	}
	r.lose(s, d.conns.Now())
}

// took notes that side s has taken bytes that were kept for it.
func (d *driver) took(r *record, s session.Side) {
	now := d.conns.Now()
	r.sides[s].lastIn = now
	r.progressed(now)
}

// writeFailed gives up side s, after what it sent before its end, if it has one.
func (d *driver) writeFailed(slot int32, r *record, s session.Side, err error) {
	if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		r.lose(s, d.conns.Now())
		return
	}
	r.unwritable(s, errors.Is(err, syscall.ECONNRESET), d.conns.Now())
	r.sides[s].flags |= isReadable | isEnded
	d.conns.resume(slot, r, s)
}

// settle does what the record wants. It is called after each change of it.
func (d *driver) settle(slot int32, r *record) {
	// Twice, since giving up one side may want a Close for the other.
	for i := 0; i < 2 && (r.wants(session.Client) || r.wants(session.Backend)); i++ {
		d.inject(slot, r, session.Client)
		d.inject(slot, r, session.Backend)
	}
	if r.phase != idle {
		d.settleMove(slot, r)
	}
	if r.cause != session.None {
		d.settleEnd(slot, r)
	} else if r.marks&isOpaque != 0 {
		d.endStreams(slot, r) // it may be half-closed
	}
}

// inject sends the frames of our own that are wanted for side s.
func (d *driver) inject(slot int32, r *record, s session.Side) {
	if !r.wants(s) {
		return
	}
	d.injected = r.inject(s, d.conns.Now(), d.injected[:0], d.texts)
	if len(d.injected) > 0 {
		d.conns.send(slot, r, s, d.injected)
		d.conns.taking(slot, r, s) // what it takes counts from here on
	}
}

// settleEnd is settle for a session that is ending.
func (d *driver) settleEnd(slot int32, r *record) {
	for s := range r.sides {
		if r.sides[s].flags&isLost != 0 {
			d.dropKept(slot, r, session.Side(s))
		}
	}
	if r.settled() {
		d.finish(slot, r)
		return
	}
	d.endStreams(slot, r)
	d.conns.schedule(slot, r, d.due(slot, r))
}

// endStreams ends the streams that must end, once everything is written.
func (d *driver) endStreams(slot int32, r *record) {
	for s := range r.sides {
		h := &r.sides[s]
		if h.flags&(wantFin|finSent) == wantFin && drained(h) {
			h.flags |= finSent
			d.conns.shutdown(slot, r, session.Side(s))
		}
	}
}

// dropKept drops what is kept for a lost side.
func (d *driver) dropKept(slot int32, r *record, s session.Side) {
	if r.sides[s].pending != 0 {
		d.conns.discard(slot, r, s)
		// No event will report what the other side has sent meanwhile.
		d.conns.resume(slot, r, s.Other())
	}
}

// rearm sets the timer of a session that has not ended.
func (d *driver) rearm(slot int32, r *record) {
	if r.live {
		d.conns.schedule(slot, r, d.due(slot, r))
	}
}

// expired does what is due, when the session's timer has run out.
func (d *driver) expired(slot int32, r *record) {
	if m := d.moves[slot]; m != nil {
		r.delayOver(m, d.conns.Now())
	}
	d.limitsExpired(slot, r)
	d.startProbes(slot, r)
	r.expired(d.conns.Now(), d.times, func(s session.Side) bool { return d.conns.taking(slot, r, s) })
	d.settle(slot, r)
	d.rearm(slot, r)
}

// apply schedules q for the session, after a delay.
func (d *driver) apply(slot int32, r *record, q *request, after time.Duration) {
	q.schedule(r, d.conns.Now(), after)
	if r.phase == aborting {
		d.settleMove(slot, r)
	}
	d.rearm(slot, r)
}

// abort ends the session without a closing handshake.
func (d *driver) abort(slot int32, r *record, cause session.Cause) {
	r.end(cause, d.conns.Now())
	d.finish(slot, r)
}

// finish closes both connections and reports the end. The end of a move is
// reported before: if a search that was given up still runs, by searched.
func (d *driver) finish(slot int32, r *record) {
	if m := d.moves[slot]; m != nil {
		d.endMove(slot, r, m)
	}
	summary := r.summary(d.conns.Now())
	summary.Reason, summary.TLSError = d.closeTexts.take(slot), d.tlsErrors.take(slot)
	d.times.sets.release(r.timeouts)
	d.conns.remove(slot, r)
	if sr := d.abandoned[slot]; sr != nil {
		kept := summary // so that the others need no allocation
		sr.summary = &kept
		return
	}
	d.ended(summary)
}

package relay

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// search is a call of Reattacher.Reattach and its result.
type search struct {
	request ReattachRequest
	cancel  func() // of its task
	running bool   // its task runs
	done    bool   // its result was not used yet

	// Set by its task. They may be read when it isn't running.
	err   error
	found NewBackend
	conn  dialled // nil if there is none or the session has it

	// Of one that was abandoned.
	gap     time.Duration
	failed  error
	summary *session.Summary // of its session, if that has ended
}

func (d *driver) moveOf(slot int32) *move {
	m := d.moves[slot]
	if m == nil {
		if d.moves == nil {
			d.moves = map[int32]*move{}
		}
		m = &move{}
		d.moves[slot] = m
	}
	return m
}

// carryMoving is record.passMoving; it keeps the rest.
func (d *driver) carryMoving(slot int32, r *record, s session.Side, p []byte, q *frame.Quota) []byte {
	m := d.moveOf(slot)
	out, rest := r.passMoving(m, s, p, d.conns.Now(), &d.scratch, d.texts, q)
	m.kept = append(m.kept, rest...)
	return out
}

// settleMove is settle for a session that isn't idle. Steps that replace a
// connection are left to advance.
func (d *driver) settleMove(slot int32, r *record) {
	m := d.moveOf(slot)
	if r.sides[session.Backend].flags&isLost != 0 {
		d.closeBackend(slot, r)
	}
	if c := &r.sides[session.Client]; c.flags&readPaused != 0 {
		if m.pausedAt.IsZero() {
			m.pausedAt = time.Now()
		}
		if c.flags&isEnded != 0 && m.search == nil {
			r.clientEnds(d.conns.Now())
		}
	}
	if r.nextStep(m) == stepReserve && d.abandoned[slot] == nil {
		d.reserve(slot, r, m)
	}
	if s := r.nextStep(m); s == stepSwap || s == stepKeep {
		d.wake(slot, m)
	}
	if r.cause == session.None {
		d.rearm(slot, r)
	}
}

// closeBackend closes the connection to a lost backend, since another one will
// take its place.
func (d *driver) closeBackend(slot int32, r *record) {
	d.conns.hangUp(slot, r, session.Backend)
	d.dropKept(slot, r, session.Backend)
}

// reserve asks the Reattacher when the session may search, and queues it.
func (d *driver) reserve(slot int32, r *record, m *move) {
	wait, err := d.reattacher.Reserve(r.reattachRequest(m, d.conns.Now()))
	switch {
	case err != nil:
		r.noneFound(m, err, d.conns.Now(), d.times)
	case r.reserved(m, wait, d.conns.Now()):
		d.conns.enqueue(slot, r.phase == awaitingBoundary)
	}
}

// dequeued begins the session's search, whose turn has come. It reports whether
// the session keeps its place in the queue, until the search has returned.
func (d *driver) dequeued(slot int32, r *record) (searches bool) {
	m := d.moves[slot]
	if m == nil {
		return false
	}
	if searches = r.dequeue(m, d.conns.Now(), d.times); searches {
		d.search(slot, r, m)
	}
	d.settle(slot, r)
	d.rearm(slot, r)
	return searches
}

// search calls Reattach in a task beside the session.
func (d *driver) search(slot int32, r *record, m *move) {
	r.beginSearch(m, d.conns.Now())
	sr := &search{request: r.reattachRequest(m, d.conns.Now()), running: true, err: errPanicked}
	m.search = sr
	work := func(parent transport.Conn) {
		found, err := d.reattacher.Reattach(parent, sr.request)
		if err == nil {
			sr.found = found
			sr.conn, err = d.conns.release(parent, found.Conn)
		}
		sr.err = err
	}
	cancel, ok := d.conns.spawn(slot, work, func() { d.searched(slot, r, sr) })
	if sr.cancel = cancel; !ok {
		sr.err = ErrMoveOver
		d.searched(slot, r, sr)
	}
}

// searched is called when Reattach has returned.
func (d *driver) searched(slot int32, r *record, sr *search) {
	sr.running, sr.done = false, true
	d.conns.leaveQueue()
	switch m := d.moves[slot]; {
	case m != nil && m.search == sr:
		d.wake(slot, m)
	case d.abandoned[slot] == sr:
		delete(d.abandoned, slot)
		d.report(sr, sr.gap, sr.failed)
		if sr.summary != nil {
			d.ended(*sr.summary)
		}
		if r.live {
			d.settle(slot, r) // another move may have waited for this
			d.rearm(slot, r)
		}
	}
}

// wake makes the engine call advance soon.
func (d *driver) wake(slot int32, m *move) {
	if !m.woken {
		m.woken = true
		d.conns.advanceSoon(slot)
	}
}

// advance takes the next step of a move: it uses what the search has found, puts
// the new backend in place, or ends the move. No task of the session may be
// running on this goroutine, and no event of its connections may be pending that
// was read before.
func (d *driver) advance(slot int32, r *record) {
	m := d.moves[slot]
	if m == nil {
		return
	}
	m.woken = false
	if sr := m.search; sr != nil && sr.done {
		sr.done = false
		switch {
		case r.phase != connecting: // it is too late
		case sr.err == nil:
			r.found(m, d.conns.Now(), d.times)
		default:
			if r.noneFound(m, sr.err, d.conns.Now(), d.times); r.phase == awaitingBoundary {
				m.search = nil // until it searches again
			}
		}
	}
	switch r.nextStep(m) {
	case stepSwap:
		d.swap(slot, r, m)
	case stepKeep:
		d.keep(slot, r, m)
	}
	d.settle(slot, r)
	d.rearm(slot, r)
}

// swap puts the new backend's connection in place of the old one's.
func (d *driver) swap(slot int32, r *record, m *move) {
	sr := m.search
	early, err := d.conns.attach(slot, r, sr.conn)
	if err != nil {
		m.err = err
		r.closeOrphan(d.conns.Now())
		return
	}
	sr.conn = nil
	d.tlsErrors.take(slot) // it was the old backend's
	r.swapped(sr.found.ID, sr.found.Control, d.conns.Now(), d.times)
	m.swapped, m.gap = true, m.pausedFor()
	kept := m.kept
	m.kept, m.begun, m.pausedAt = nil, nil, time.Time{}
	d.reattacher.Swapped(sr.request, sr.found.ID)
	if r.phase != onProbation {
		d.endMove(slot, r, m)
	}
	d.inject(slot, r, session.Backend) // the notice that it begins is the first that it gets
	d.goOn(slot, r, kept, sr.found.Early, early)
}

// keep ends a move; the session goes on with the backend that it has, or to its
// end, or to another move.
func (d *driver) keep(slot int32, r *record, m *move) {
	d.endMove(slot, r, m)
	r.moveEnded(d.conns.Now())
	if r.phase != idle {
		next := d.moveOf(slot)
		next.pausedAt = m.pausedAt
		r.moveAgain(m, next, d.conns.Now())
	}
	d.goOn(slot, r, m.kept, m.begun)
}

// goOn passes what has waited for the end of a move, and reads both sides again.
func (d *driver) goOn(slot int32, r *record, client []byte, backend ...[]byte) {
	for _, p := range backend {
		if len(p) > 0 && r.sides[session.Backend].flags&isLost == 0 {
			d.carry(slot, r, session.Backend, p)
		}
	}
	if len(client) > 0 {
		d.carry(slot, r, session.Client, client)
	}
	d.conns.resume(slot, r, session.Client)
	d.conns.resume(slot, r, session.Backend)
}

// endMove closes what was found and not used, and reports the end of the move.
func (d *driver) endMove(slot int32, r *record, m *move) {
	if delete(d.moves, slot); len(d.moves) == 0 {
		d.moves = nil // a map never gives memory back by itself
	}
	sr := m.search
	asked := sr != nil
	if !asked {
		sr = &search{request: r.reattachRequest(m, d.conns.Now())}
	}
	var err error
	if m.swapped {
		err = r.rejection()
	} else {
		m.gap = m.pausedFor()
		err = r.whyNotMoved(m, asked, !sr.running && sr.conn != nil)
	}
	if sr.running {
		sr.cancel()
	}
	if sr.running { // it fails in a moment
		sr.gap, sr.failed = m.gap, err
		if d.abandoned == nil {
			d.abandoned = map[int32]*search{}
		}
		d.abandoned[slot] = sr
		return
	}
	d.report(sr, m.gap, err)
}

// report tells the Reattacher of the end of a move.
func (d *driver) report(sr *search, gap time.Duration, err error) {
	if sr.conn != nil {
		sr.conn.Close()
	}
	d.reattacher.Moved(sr.request, sr.found.ID, gap, err)
}

// pausedFor is for how long the client hasn't been read.
func (m *move) pausedFor() time.Duration {
	if m.pausedAt.IsZero() {
		return 0
	}
	return time.Since(m.pausedAt)
}

package relay

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// closedFD is in the place of a socket that was closed before its session's
// end.
const closedFD = -1

// epollMove is what a loop has of a session beside its record, while that
// isn't staying.
type epollMove struct {
	move
	kept    []byte    // what was read of the client beyond the place where it is held
	held    time.Time // when that was
	listed  bool      // it is on the list of those to be looked at
	swapped bool
	search  *search // nil until Reattach is asked, and while it is not
}

// search is a call of Reattach and what has come of it.
type search struct {
	moving  Moving // as it was told to Reattach
	kill    func() // of its task
	running bool   // in which it is
	done    bool   // what it returned is to be looked at
	over    bool   // or no longer is
	err     error  // of that

	found Found
	sock  eventloop.Socket
	have  bool // sock is open and ours
}

func (el *epollLoop) moveOf(slot int32) *epollMove {
	m := el.moves[slot]
	if m == nil {
		if el.moves == nil {
			el.moves = map[int32]*epollMove{}
		}
		m = &epollMove{}
		el.moves[slot] = m
	}
	return m
}

// passMoving is record.passMoving; it keeps the rest.
func (el *epollLoop) passMoving(slot int32, r *record, s session.Side, p []byte) []byte {
	m := el.moveOf(slot)
	out, rest := r.passMoving(&m.move, s, p, el.Now(), &el.scratch, &el.engine.texts)
	m.kept = append(m.kept, rest...)
	return out
}

// settleMove is settle for what only a session that is being moved comes to
// want. The steps that have to do with sockets are taken in Again: no task runs
// there, and no event of the batch is still to come.
func (el *epollLoop) settleMove(slot int32, r *record) {
	m := el.moveOf(slot)
	if r.half[session.Backend].flags&isLost != 0 {
		el.closeBackend(slot, r)
	}
	if c := &r.half[session.Client]; c.flags&isHeld != 0 {
		if m.held.IsZero() {
			m.held = time.Now()
		}
		if c.flags&isEnded != 0 && m.search == nil {
			r.clientEnds(el.Now())
		}
	}
	if r.next(&m.move) == stepLine {
		el.lineUp(slot, r, m)
	}
	if r.next(&m.move) != stepNone {
		el.look(slot, m)
	}
	if r.cause == session.None {
		el.Arm(slot, r.due(el.Now(), el.times))
	}
}

// closeBackend closes the socket of a backend that is lost, since another will
// be needed. Events that are still to come for it find it lost.
func (el *epollLoop) closeBackend(slot int32, r *record) {
	b := &r.half[session.Backend]
	if b.fd != closedFD {
		eventloop.CloseFD(b.fd)
		b.fd = closedFD
	}
	if b.pending != 0 {
		el.backlog.drop(b.pending)
		b.pending = 0
		el.readAgain(slot, r, session.Client)
	}
}

// lineUp has the session wait for its turn to look for another backend.
func (el *epollLoop) lineUp(slot int32, r *record, m *epollMove) {
	d, err := el.mover.Delay(r.moving(&m.move, el.Now()))
	switch {
	case err != nil:
		r.noneFound(&m.move, err, el.Now(), el.times)
	case r.await(&m.move, d, el.Now()):
		el.line.join(slot, r.phase == turning)
		el.CallAgain()
	}
}

// callNext has those look for a backend whose turn has come.
func (el *epollLoop) callNext() {
	for {
		slot, ok := el.line.next()
		if !ok {
			return
		}
		m := el.moves[slot]
		if m == nil {
			el.line.leave()
			continue
		}
		r := el.at(slot)
		if r.call(&m.move, el.Now(), el.times) {
			el.seek(slot, r, m)
		} else {
			el.line.leave()
		}
		el.settle(slot, r)
		if r.live {
			el.Arm(slot, r.due(el.Now(), el.times))
		}
	}
}

func (el *epollLoop) look(slot int32, m *epollMove) {
	if !m.listed {
		m.listed = true
		el.looks = append(el.looks, slot)
		el.CallAgain()
	}
}

// advance takes the next steps of all moves that are listed.
func (el *epollLoop) advance() {
	looks := el.looks
	el.looks = nil // seldom enough
	for _, slot := range looks {
		m := el.moves[slot]
		if m == nil {
			continue
		}
		m.listed = false
		r := el.at(slot)
		if sr := m.search; sr != nil && sr.done {
			sr.done = false
			switch {
			case r.phase != seeking: // it is too late
			case sr.err == nil:
				r.found(&m.move, el.Now(), el.times)
			default:
				if r.noneFound(&m.move, sr.err, el.Now(), el.times); r.phase == turning {
					m.search = nil // until it looks again
				}
			}
		}
		switch r.next(&m.move) {
		case stepSwap:
			el.swap(slot, r, m)
		case stepStay:
			el.stay(slot, r, m)
		}
		el.settle(slot, r)
		if r.live {
			el.Arm(slot, r.due(el.Now(), el.times))
		}
	}
}

// seek asks the Mover, in a task beside the session, which has a place until
// that has ended.
func (el *epollLoop) seek(slot int32, r *record, m *epollMove) {
	r.sought(&m.move, el.Now())
	sr := &search{moving: r.moving(&m.move, el.Now()), running: true}
	m.search = sr
	end := func(err error) {
		sr.running, sr.done, sr.err = false, true, err
		if el.line.leave() {
			el.CallAgain()
		}
		if sr.have = err == nil; !sr.over {
			el.look(slot, m)
		}
	}
	kill, ok := el.Spawn(func(near transport.Conn) {
		err := errPanicked
		defer func() { end(err) }()
		var found Found
		if found, err = el.mover.Reattach(near, sr.moving); err == nil {
			sr.found = found
			sr.sock, err = el.ReleaseDialled(found.Backend)
		}
	})
	if sr.kill = kill; !ok {
		end(ErrMoveOver)
	}
}

// swap puts the new backend's socket in the place of the old one's.
func (el *epollLoop) swap(slot int32, r *record, m *epollMove) {
	sr := m.search
	if err := el.Take(sr.sock, slot, session.Backend); err != nil {
		m.err = err
		r.strand(el.Now())
		return
	}
	el.closeBackend(slot, r)
	r.swapped(sr.found.ID, el.Now())
	b := &r.half[session.Backend]
	b.fd = sr.sock.FD
	b.flags |= isReadable
	if sr.sock.Ended {
		b.flags |= isEnded
	}
	sr.have = false
	m.swapped = true
	el.endMove(slot, r, m)
	el.goOn(slot, r, m.kept, sr.found.Early, sr.sock.Early)
}

// stay has the session go on without having been moved, or to its end.
func (el *epollLoop) stay(slot int32, r *record, m *epollMove) {
	el.endMove(slot, r, m)
	r.stayed(el.Now())
	if r.half[session.Client].flags&isHeld != 0 { // it has another move before it
		el.moveOf(slot).held = m.held
	}
	el.goOn(slot, r, m.kept, m.begun)
}

// goOn passes what has waited for the end of a move, and reads both sides on.
func (el *epollLoop) goOn(slot int32, r *record, client []byte, backend ...[]byte) {
	for _, p := range backend {
		if len(p) > 0 && r.half[session.Backend].flags&isLost == 0 {
			el.carry(slot, r, session.Backend, p)
		}
	}
	if len(client) > 0 {
		el.carry(slot, r, session.Client, client)
	}
	for s := range r.half {
		if r.half[s].flags&isReadable != 0 {
			el.read(slot, r, session.Side(s))
		}
	}
}

// endMove closes what was found and not used, and tells of the end of the move.
func (el *epollLoop) endMove(slot int32, r *record, m *epollMove) {
	sr := m.search
	asked := sr != nil
	if !asked {
		sr = &search{moving: r.moving(&m.move, el.Now())}
	}
	var err error
	if !m.swapped {
		err = r.whyNotMoved(&m.move, asked, sr.have)
	}
	if delete(el.moves, slot); len(el.moves) == 0 {
		el.moves = nil // a map never gives memory back by itself
	}
	sr.over = true
	if sr.running {
		sr.kill()
	}
	if sr.have { // the task may have returned it only now
		eventloop.CloseFD(sr.sock.FD)
	}
	var gap time.Duration
	if !m.held.IsZero() {
		gap = time.Since(m.held)
	}
	el.mover.Moved(sr.moving, sr.found.ID, gap, err)
}

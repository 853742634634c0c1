package relay

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// epollMove is what a loop has of a session beside its record, while that
// isn't staying.
type epollMove struct {
	move
	kept   []byte    // what was read of the client beyond the place where it is held
	held   time.Time // when that was
	listed bool      // it is on the list of those to be looked at

	moving  Moving // as it was told to Reattach
	asked   bool   // Reattach was called
	kill    func() // of its task
	running bool   // in which it is
	done    bool   // what it returned is to be looked at
	over    bool   // or no longer is

	found   Found
	sock    eventloop.Socket
	have    bool // sock is open and ours
	swapped bool
	err     error
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
// want. The steps themselves are taken in Again: no task runs there, and no
// event of the batch is still to come.
func (el *epollLoop) settleMove(slot int32, r *record) {
	m := el.moveOf(slot)
	if b := &r.half[session.Backend]; b.flags&isLost != 0 && b.pending != 0 {
		el.backlog.drop(b.pending)
		b.pending = 0
		el.readAgain(slot, r, session.Client)
	}
	if m.held.IsZero() && r.half[session.Client].flags&isHeld != 0 {
		m.held = time.Now()
	}
	if r.next() != stepNone {
		el.look(slot, m)
	}
	if r.cause == session.None {
		el.Arm(slot, r.due(el.Now(), el.times))
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
		if m.done {
			m.done = false
			switch {
			case r.phase != seeking: // it is too late
			case m.err != nil:
				r.moveFailed(el.Now(), el.times)
			default:
				r.found(el.Now(), el.times)
			}
		}
		switch r.next() {
		case stepSeek:
			el.seek(slot, r, m)
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

// seek asks the Mover, in a task beside the session.
func (el *epollLoop) seek(slot int32, r *record, m *epollMove) {
	r.sought(el.Now())
	m.moving = r.moving()
	m.asked, m.running = true, true
	kill, ok := el.Spawn(func(near transport.Conn) {
		err := errPanicked
		defer func() {
			m.running, m.done, m.err = false, true, err
			if m.have = err == nil; !m.over {
				el.look(slot, m)
			}
		}()
		var found Found
		if found, err = el.mover.Reattach(near, m.moving); err == nil {
			m.found = found
			m.sock, err = el.ReleaseDialled(found.Backend)
		}
	})
	if m.kill = kill; !ok {
		m.running, m.done, m.err = false, true, ErrMoveOver
		el.look(slot, m)
	}
}

// swap puts the new backend's socket in the place of the old one's.
func (el *epollLoop) swap(slot int32, r *record, m *epollMove) {
	b := &r.half[session.Backend]
	if err := el.Take(m.sock, slot, session.Backend); err != nil {
		m.err = err
		r.strand(el.Now())
		return
	}
	if b.pending != 0 {
		el.backlog.drop(b.pending)
	}
	eventloop.CloseFD(b.fd)
	r.swapped(m.found.ID, el.Now())
	b.fd = m.sock.FD
	b.flags |= isReadable
	if m.sock.Ended {
		b.flags |= isEnded
	}
	m.have = false
	m.swapped = true
	el.endMove(slot, r, m)
	el.goOn(slot, r, m.kept, m.found.Early, m.sock.Early)
}

// stay has the session go on without having been moved, or to its end.
func (el *epollLoop) stay(slot int32, r *record, m *epollMove) {
	el.endMove(slot, r, m)
	r.stayed(el.Now())
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
	var err error
	if !m.swapped {
		err = r.whyNotMoved(m.err, m.asked, m.have)
	}
	delete(el.moves, slot)
	m.over = true
	if m.running {
		m.kill()
	}
	if m.have { // the task may have returned it only now
		eventloop.CloseFD(m.sock.FD)
	}
	if !m.asked {
		m.moving = r.moving()
	}
	var gap time.Duration
	if !m.held.IsZero() {
		gap = time.Since(m.held)
	}
	el.mover.Moved(m.moving, m.found.ID, gap, err)
}

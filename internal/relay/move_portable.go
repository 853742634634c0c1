package relay

import (
	"errors"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/gonet"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// portableMove is what a session has beside its record while that isn't
// staying. It is guarded by the session's mu.
type portableMove struct {
	move
	held   time.Time   // when the client was
	moving Moving      // as it was told to Reattach
	near   *gonet.Near // nil while Reattach is not asked
	found  bool
	late   bool  // stayLate runs
	failed error // why it ended without a backend, where it did
}

// portableLine is the engine's line.
type portableLine struct {
	some atomic.Bool // somebody may be in it
	mu   sync.Mutex  // guards the following; no other is taken while it is held
	line line[*portableSession]
}

// SetMover implements Engine.
func (e *Portable) SetMover(m Mover) {
	e.mu.Lock()
	e.mover = m
	e.mu.Unlock()
}

// settleMove is settle for a session that is being moved, and reports whether
// that is to be called again. mu is held.
func (ps *portableSession) settleMove() (again bool) {
	if ps.m == nil {
		ps.m = &portableMove{}
	}
	m := ps.m
	if m.held.IsZero() && ps.half[session.Client].flags&isHeld != 0 {
		m.held = time.Now()
	}
	if ps.half[session.Backend].flags&isLost != 0 {
		ps.conn[session.Backend].Close() // wakes who reads or writes it
	}
	if ps.next(&m.move) == stepLine && !ps.relocates {
		ps.lineUp(m)
		again = true
	}
	if ps.next(&m.move) == stepStay {
		switch {
		case len(m.begun) == 0:
			ps.stay()
			again = true
		case !m.late:
			m.late = true
			ps.engine.readers.Go(ps.stayLate)
		}
	}
	ps.changed.Broadcast()
	ps.arm()
	return again
}

// lineUp has the session wait for its turn to look for another backend. mu is
// held.
func (ps *portableSession) lineUp(m *portableMove) {
	e := ps.engine
	d, err := e.moverNow().Delay(ps.moving(&m.move, e.now()))
	switch {
	case err != nil:
		ps.noneFound(&m.move, err, e.now(), e.times)
	case ps.await(&m.move, d, e.now()):
		e.turns.mu.Lock()
		e.turns.line.join(ps, ps.phase == turning)
		e.turns.some.Store(true)
		e.turns.mu.Unlock()
	}
}

// callNext has those look for a backend whose turn has come. No session's mu is
// held.
func (e *Portable) callNext() {
	for e.turns.some.Load() {
		e.turns.mu.Lock()
		ps, ok := e.turns.line.next()
		e.turns.some.Store(e.turns.line.waits())
		e.turns.mu.Unlock()
		if !ok {
			return
		}
		ps.mu.Lock()
		m, seeks := ps.m, false
		if m != nil && !ps.over {
			if seeks = ps.call(&m.move, e.now(), e.times); seeks {
				ps.sought(&m.move, e.now())
				m.moving, m.near = ps.moving(&m.move, e.now()), e.Near()
				ps.relocates = true
				e.readers.Go(func() { ps.relocate(m) })
			}
			if ps.settleMove() {
				e.readers.Go(ps.settle) // which may wait for its peers
			}
		}
		ps.mu.Unlock()
		if !seeks {
			e.leaveLine()
		}
	}
}

// leaveLine gives a place back.
func (e *Portable) leaveLine() {
	e.turns.mu.Lock()
	e.turns.line.leave()
	e.turns.mu.Unlock()
}

// stay ends a move that came to nothing. mu is held.
func (ps *portableSession) stay() {
	held := ps.m.held
	ps.endMove()
	ps.stayed(ps.engine.now())
	if ps.half[session.Client].flags&isHeld != 0 { // it has another move before it
		ps.m = &portableMove{held: held}
	}
}

// stayLate is stay where there are bytes to be written first.
func (ps *portableSession) stayLate() {
	ps.out[session.Client].Lock()
	ps.mu.Lock()
	if !ps.over && ps.phase == quitting {
		begun := ps.m.begun
		ps.stay()
		var scratch []byte
		if ps.half[session.Backend].flags&isLost == 0 {
			h := &ps.half[session.Backend]
			before := *h
			out := ps.pass(session.Backend, begun, ps.engine.now(), &scratch, &ps.engine.texts)
			ps.engine.count(session.Backend, &before, h)
			ps.write(session.Client, out)
		}
		ps.changed.Broadcast()
	}
	ps.mu.Unlock()
	ps.out[session.Client].Unlock()
	ps.settle()
}

// endMove is for a move that came to nothing, and leaves the rest to relocate
// where that runs. mu is held.
func (ps *portableSession) endMove() {
	m := ps.m
	ps.m = nil
	m.failed = ps.whyNotMoved(&m.move, m.near != nil, m.found)
	if m.near == nil {
		ps.engine.moverNow().Moved(ps.moving(&m.move, ps.engine.now()), 0, m.gap(), m.failed)
		return
	}
	m.near.Close()
}

func (m *portableMove) gap() time.Duration {
	if m.held.IsZero() {
		return 0
	}
	return time.Since(m.held)
}

func (e *Portable) moverNow() Mover {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mover
}

// relocate looks for another backend, and puts it in place when its time has
// come.
func (ps *portableSession) relocate(m *portableMove) {
	found, conn, err := ps.reattach(m)
	ps.engine.leaveLine()
	ps.mu.Lock()
	if ps.m == m && ps.phase == seeking {
		if err == nil {
			m.found = true
			ps.found(&m.move, ps.engine.now(), ps.engine.times)
		} else if ps.noneFound(&m.move, err, ps.engine.now(), ps.engine.times); ps.phase == turning { // it looks again
			m.near, ps.relocates = nil, false
			ps.mu.Unlock()
			ps.settle()
			return
		}
	}
	ps.mu.Unlock()
	ps.settle()
	if err == nil && !ps.swap(m, conn, found) {
		conn.Close()
	}
	ps.mu.Lock()
	for ps.m == m {
		ps.changed.Wait() // for stayLate, to say why
	}
	failed, gap := m.failed, m.gap()
	ps.mu.Unlock()
	ps.engine.moverNow().Moved(m.moving, found.ID, gap, failed)
	ps.mu.Lock()
	ps.relocates = false
	ps.mu.Unlock()
	ps.settle()
}

// reattach asks the Mover. The connection it returns is the caller's.
func (ps *portableSession) reattach(m *portableMove) (found Found, _ net.Conn, err error) {
	defer m.near.Close()
	defer func() {
		if p := recover(); p != nil {
			ps.engine.log.Error("panic while a session is moved; it is not", "panic", p, "stack", string(debug.Stack()))
			found, err = Found{}, errPanicked
		}
	}()
	found, err = ps.engine.moverNow().Reattach(m.near, m.moving)
	if err != nil {
		return Found{}, nil, err
	}
	c, ok := found.Backend.(*gonet.Conn)
	if !ok {
		if found.Backend != nil {
			found.Backend.Close()
		}
		return found, nil, errors.New("relay: not a connection of this engine's network")
	}
	m.near.Take()
	found.Early = append(append([]byte(nil), found.Early...), c.First()...)
	conn, err := c.Detach()
	return found, conn, err
}

// swap waits until the old backend has said all, puts conn in the place of its
// connection, and reports whether it did.
func (ps *portableSession) swap(m *portableMove, conn net.Conn, found Found) bool {
	ps.mu.Lock()
	for ps.m == m && ps.next(&m.move) != stepSwap {
		ps.changed.Wait()
	}
	old, ours := ps.conn[session.Backend], ps.m == m
	ps.mu.Unlock()
	if !ours {
		return false
	}
	old.Close() // who hangs in writing to it holds out
	ps.out[session.Backend].Lock()
	defer ps.out[session.Backend].Unlock()
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.m != m || ps.next(&m.move) != stepSwap {
		return false
	}
	ps.swapped(found.ID, ps.engine.now())
	ps.conn[session.Backend] = conn
	ps.m = nil
	ps.changed.Broadcast()
	ps.engine.readers.Go(func() { ps.read(session.Backend, conn, found.Early) })
	ps.arm()
	return true
}

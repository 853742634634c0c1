package relay

import (
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// hold notes that by so many bytes more are kept for end, and reports whether that is
// more than may be kept.
func (ps *portableSession) hold(end *connEnd, by int) (full bool) {
	end.held += by
	held, most := ps.engine.held.Add(int64(by)), ps.engine.times.backlog.Load()
	return most != 0 && held > most
}

// forget drops what is kept for end.
func (ps *portableSession) forget(end *connEnd) {
	ps.hold(end, -end.held)
	end.buf = nil
}

// Backlog implements Engine.
func (e *Portable) Backlog() int64 { return e.held.Load() }

// makeRoom ends sessions, as epollLoop.makeRoom does, in a goroutine of its own: the
// caller has the lock of a session.
func (e *Portable) makeRoom() {
	if !e.full.CompareAndSwap(false, true) {
		return
	}
	e.readers.Go(func() {
		defer e.full.Store(false)
		for e.held.Load() > e.times.backlog.Load() {
			slowest, side, since := (*portableSession)(nil), session.Client, eventloop.Never
			for _, ps := range e.all() {
				ps.mu.Lock()
				for s, end := range ps.ends {
					if ps.r.live && ps.r.sides[s].pending != 0 && end.held > 0 && end.since < since {
						slowest, side, since = ps, session.Side(s), end.since
					}
				}
				ps.mu.Unlock()
			}
			if slowest == nil {
				return // it is taken meanwhile
			}
			slowest.do(func() {
				if ps := slowest; ps.r.live && ps.r.sides[side].pending != 0 && ps.ends[side].since == since {
					ps.cutSlow(0, &ps.r, side)
				}
			})
		}
	})
}

package relay

import (
	"math"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/spread"
)

// Tune implements Engine.
func (e *Portable) Tune(t Tuning) { e.times.Tune(t) }

// CloseSessions implements Engine.
func (e *Portable) CloseSessions(q CloseRequest) int { return e.carryOut(q.request(&e.texts)) }

// MoveSessions implements Engine.
func (e *Portable) MoveSessions(q MoveRequest) int { return e.carryOut(q.request(&e.texts)) }

// Cancel implements Engine.
func (e *Portable) Cancel(q CancelRequest) int { return e.carryOut(q.request()) }

func (e *Portable) carryOut(q *request) (total int) {
	all := oldest[*portableSession]{bounds: q.selection.Backends}
	for _, ps := range e.all() {
		ps.mu.Lock()
		if ps.r.live && q.includes(&ps.r) {
			all.add(ps.r.backend, ps.r.started, ps)
		}
		ps.mu.Unlock()
	}
	chosen := all.sorted()
	for i, c := range chosen {
		c.session.do(func() {
			if ps := c.session; ps.r.live && q.includes(&ps.r) { // it may have changed since
				total++
				ps.apply(0, &ps.r, q, spread.Part(q.spread, i, len(chosen)))
			}
		})
	}
	return total
}

// Leaving implements Engine.
func (e *Portable) Leaving() map[uint32]int {
	leaving := make(map[uint32]int)
	for _, ps := range e.all() {
		ps.mu.Lock()
		if ps.r.leaves() {
			leaving[ps.r.backend]++
		}
		ps.mu.Unlock()
	}
	return leaving
}

// Abort implements Engine.
func (e *Portable) Abort(cause session.Cause) {
	for _, ps := range e.all() {
		ps.do(func() {
			if ps.r.live {
				ps.abort(0, &ps.r, cause)
			}
		})
	}
}

// Sessions implements Engine. A Cursor is a slot plus 1.
func (e *Portable) Sessions(from Cursor, limit int, of *Filter) (list []session.Summary, next Cursor) {
	slot := int(min(max(from, 1)-1, math.MaxInt32))
	for end := slot + lookAtMost; slot >= 0 && slot < end && len(list) < limit; {
		var some []*portableSession
		e.mu.Lock()
		some, slot = e.sessions.from(slot, limit-len(list))
		e.mu.Unlock()
		for _, ps := range some {
			ps.mu.Lock()
			if now := e.now(); ps.r.live && of.includes(&ps.r, now) {
				list = append(list, ps.r.summary(now))
			}
			ps.mu.Unlock()
		}
	}
	return list, Cursor(slot + 1)
}

// Each implements Engine.
func (e *Portable) Each(f func(session.Summary)) { each(e, f) }

func (e *Portable) all() []*portableSession {
	e.mu.Lock()
	defer e.mu.Unlock()
	all, _ := e.sessions.from(0, math.MaxInt)
	return all
}

// roster is the list of the portable engine's sessions. A session keeps its slot
// as long as it lives.
type roster struct {
	slots []*portableSession
	free  []int
}

func (l *roster) add(ps *portableSession) {
	if n := len(l.free); n > 0 {
		ps.slot = l.free[n-1]
		l.free = l.free[:n-1]
		l.slots[ps.slot] = ps
		return
	}
	ps.slot = len(l.slots)
	l.slots = append(l.slots, ps)
}

func (l *roster) remove(ps *portableSession) {
	l.slots[ps.slot] = nil
	if l.free = append(l.free, ps.slot); len(l.free) == len(l.slots) {
		*l = roster{} // releases the memory after a burst
	}
}

func (l *roster) len() int { return len(l.slots) - len(l.free) }

// from lists up to limit sessions from a slot on, and returns where to go on; -1
// means that there are no more.
func (l *roster) from(slot, limit int) (list []*portableSession, next int) {
	for ; slot < len(l.slots); slot++ {
		if len(list) >= limit {
			return list, slot
		}
		if ps := l.slots[slot]; ps != nil {
			list = append(list, ps)
		}
	}
	return list, -1
}

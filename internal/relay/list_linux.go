package relay

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/spread"
)

// Work on all sessions is done in portions. A loop handles events in between, so that
// no session waits longer if there are many.
const (
	// portion is how many chunks of records are visited at once. It takes about a
	// millisecond (BenchmarkLook).
	portion = 16
	// turnPortion is how many sessions are scheduled at once.
	turnPortion = 1000
	// listChunks is how many chunks of records are looked at at once for a list, and
	// listSessions how many sessions are listed at once (BenchmarkList).
	listChunks   = 4
	listSessions = 256
)

// visit calls f for every session, on its loop, one at a time.
func (e *Epoll) visit(f func(loop int, slot int32, r *record)) {
	for first, more := 0, true; more; first += portion {
		more = false
		e.Group.Each(func(i int, _ *eventloop.Loop) {
			el := e.loops[i]
			el.eachIn(first, first+portion, func(slot int32, r *record) { f(i, slot, r) })
			more = more || first+portion < len(el.records)
		})
	}
}

// scheduled is a session that a request has chosen.
type scheduled struct {
	slot    int32
	started int64
	after   time.Duration
}

// CloseSessions implements Engine.
func (e *Epoll) CloseSessions(q CloseRequest) int { return e.carryOut(q.request(&e.texts)) }

// MoveSessions implements Engine.
func (e *Epoll) MoveSessions(q MoveRequest) int { return e.carryOut(q.request(&e.texts)) }

// Cancel implements Engine.
func (e *Epoll) Cancel(q CancelRequest) int { return e.carryOut(q.request()) }

// carryOut visits all loops before it chooses sessions, since the oldest ones may be
// on any loop.
func (e *Epoll) carryOut(q *request) (total int) {
	type place struct {
		loop int
		slot int32
	}
	all := oldest[place]{bounds: q.selection.Backends}
	e.visit(func(loop int, slot int32, r *record) {
		if q.includes(r) {
			all.add(r.backend, r.started, place{loop, slot})
		}
	})
	chosen := all.sorted()
	lists := make([][]scheduled, len(e.loops))
	for n, c := range chosen {
		l := &lists[c.session.loop]
		*l = append(*l, scheduled{c.session.slot, c.started, spread.Part(q.spread, n, len(chosen))})
	}
	began := time.Now()
	for left := len(chosen); left > 0; {
		for i, list := range lists {
			now := list[:min(len(list), turnPortion)]
			lists[i] = list[len(now):]
			if left -= len(now); len(now) == 0 {
				continue
			}
			e.Group.On(i, func(int, *eventloop.Loop) {
				for _, c := range now {
					if e.loops[i].scheduleOne(q, c.slot, c.started, c.after-time.Since(began)) {
						total++
					}
				}
			})
		}
	}
	return total
}

// Leaving implements Engine.
func (e *Epoll) Leaving() map[uint32]int {
	leaving := make(map[uint32]int)
	e.visit(func(_ int, _ int32, r *record) {
		if r.leaves() {
			leaving[r.backend]++
		}
	})
	return leaving
}

// Sessions implements Engine. A Cursor is a loop and a slot.
func (e *Epoll) Sessions(from Cursor, limit int, of *Filter) (list []session.Summary, next Cursor) {
	const bits = 32
	slot, looked := int32(from&(1<<bits-1)>>1), 0
	turn := make([]session.Summary, 0, min(limit, listSessions)) // so that a loop allocates nothing
	for loop := int(min(from>>bits, Cursor(len(e.loops)))); loop < len(e.loops); loop, slot = loop+1, 0 {
		for more := true; more; {
			if len(list) >= limit || looked >= lookAtMost {
				return list, Cursor(loop)<<bits | Cursor(slot)<<1 | 1
			}
			first := slot
			turn = turn[:0:min(limit-len(list), cap(turn))]
			more = false
			e.Group.On(loop, func(int, *eventloop.Loop) {
				turn, slot, more = e.loops[loop].list(turn, slot, of)
			})
			list = append(list, turn...)
			looked += int(slot - first)
		}
	}
	return list, 0
}

// list appends the summaries of sessions from a slot on, up to the capacity of list. It
// returns the next slot, and whether there may be more.
func (el *epollLoop) list(list []session.Summary, slot int32, of *Filter) (_ []session.Summary, next int32, more bool) {
	end := int32(min(len(el.records), int(slot)/chunkRecords+listChunks) * chunkRecords)
	now := el.Now()
	for ; slot < end && len(list) < cap(list); slot++ {
		if el.records[slot/chunkRecords] == nil {
			slot |= chunkRecords - 1
		} else if r := el.at(slot); r.live && of.includes(r, now) {
			list = append(list, r.summary(now))
		}
	}
	return list, slot, int(slot) < len(el.records)*chunkRecords
}

// Each implements Engine.
func (e *Epoll) Each(f func(session.Summary)) { each(e, f) }

// Trim implements Engine.
func (e *Epoll) Trim() {
	e.Group.Each(func(i int, l *eventloop.Loop) {
		l.Trim()
		e.loops[i].trim()
	})
	for first, more := 0, true; more; first += portion {
		more = false
		e.Group.Each(func(i int, _ *eventloop.Loop) {
			more = e.loops[i].trimRecords(first, first+portion) || more
		})
	}
}

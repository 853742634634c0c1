package relay

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
)

const chunkRecords = 512

// epollLoop has the sessions of one loop. Only that loop uses it, except for the
// atomic fields.
type epollLoop struct {
	*eventloop.Loop
	driver
	engine *Epoll

	records [][]record           // by slot, in chunks that never move; nil where trimmed
	again   []turn               // sides to read again
	spare   []turn               // becomes again next
	moved   int                  // bytes that were passed on in this iteration
	woken   []int32              // slots of sessions for driver.advance
	queue   reattachQueue[int32] // slots of sessions that wait to search for a backend
	backlog backlog
	splicer splicer
	tls     tlsSides
	budgets budgets
	held    atomic.Int64 // what is kept in backlog and in tls, as of the last batch

	traffic   [2]session.Traffic
	meters    meters
	published [2]struct{ messages, bytes atomic.Uint64 }
}

func (el *epollLoop) at(slot int32) *record {
	return &el.records[slot/chunkRecords][slot%chunkRecords]
}

func (el *epollLoop) each(f func(slot int32, r *record)) {
	el.eachIn(0, len(el.records), f)
}

// eachIn is each for the chunks from first to before last, if they exist.
func (el *epollLoop) eachIn(first, last int, f func(slot int32, r *record)) {
	for c := first; c < min(last, len(el.records)); c++ {
		for i := range el.records[c] {
			if r := &el.records[c][i]; r.live {
				f(int32(c*chunkRecords+i), r)
			}
		}
	}
}

// trim releases what is kept for later use.
func (el *epollLoop) trim() {
	el.backlog.trim()
	el.splicer.trim()
	el.tls.trim()
}

// trimRecords releases the chunks without a session, from first to before last, and
// reports whether there are more chunks.
func (el *epollLoop) trimRecords(first, last int) (more bool) {
	for c := first; c < min(last, len(el.records)); c++ {
		live := false
		for i := range el.records[c] {
			live = live || el.records[c][i].live
		}
		if !live {
			el.records[c] = nil
			el.tls.trimChunk(c)
			el.budgets.trimChunk(c)
		}
	}
	return last < len(el.records)
}

func (el *epollLoop) start(slot int32, socks [2]eventloop.Socket, above [2]tlsconn.Released, s *Start) {
	chunk := int(slot) / chunkRecords
	for chunk >= len(el.records) {
		el.records = append(el.records, nil)
	}
	if el.records[chunk] == nil {
		el.records[chunk] = make([]record, chunkRecords)
	}
	r := el.at(slot)
	*r = el.newRecord(s)
	if r.marks&isLimited != 0 {
		el.budgets.set(slot, newBudget(s.limits(), el.Now()))
	}
	el.engine.active.Add(1)
	for i := range socks {
		h := &r.sides[i]
		h.fd = socks[i].FD
		if socks[i].Readable {
			h.flags |= isReadable
		}
		if socks[i].Ended {
			h.flags |= isEnded
		}
		el.secure(slot, r, session.Side(i), above[i].State)
	}
	for i := range socks {
		side := session.Side(i)
		raw := socks[i].Early
		if !above[i].State.IsZero() {
			raw = nil
		}
		for _, early := range [3][]byte{s.Early[i], above[i].Plain, raw} {
			if len(early) > 0 {
				el.carry(slot, r, side, early)
			}
		}
		switch t := el.tls.of(slot, side); {
		case t == nil:
		case above[i].Err != nil:
			el.recordsEnd(slot, r, side, t, above[i].Err)
		default:
			el.open(slot, r, side, t, append(above[i].Cipher, socks[i].Early...))
		}
		if r.sides[i].flags&isReadable != 0 {
			el.read(slot, r, side)
		}
	}
	el.settle(slot, r)
	el.rearm(slot, r)
}

// remove implements connections.
func (el *epollLoop) remove(slot int32, r *record) {
	for s := range r.sides {
		el.hangUp(slot, r, session.Side(s))
		el.discard(slot, r, session.Side(s))
	}
	*r = record{}
	el.Free(slot)
	el.engine.active.Add(-1)
}

// Expired implements eventloop.Owner.
func (el *epollLoop) Expired(slot int32) { el.expired(slot, el.at(slot)) }

// taking implements connections. It reports whether s has acknowledged bytes since
// the last call and has more to acknowledge. Then it is alive, and a ping may wait
// behind other bytes.
func (el *epollLoop) taking(_ int32, r *record, s session.Side) bool {
	fd := r.sides[s].fd
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return false
	}
	before := r.acked[s]
	r.acked[s] = uint32(info.Bytes_acked)
	return r.acked[s] != before && eventloop.Unsent(fd) > 0
}

// BatchDone implements eventloop.Owner.
func (el *epollLoop) BatchDone() {
	el.moved = 0
	for s := range el.traffic {
		el.published[s].messages.Store(el.traffic[s].Messages)
		el.published[s].bytes.Store(el.traffic[s].Bytes)
	}
	if size := int64(el.backlog.size + el.tls.begun.size); size != el.held.Load() {
		el.held.Store(size)
	}
}

// scheduleOne schedules q, after a delay, for the session in the slot, unless that is
// another one by now (it began at another time) or q no longer includes it. It
// reports whether it did.
func (el *epollLoop) scheduleOne(q *request, slot int32, started int64, after time.Duration) bool {
	if el.records[slot/chunkRecords] == nil {
		return false
	}
	r := el.at(slot)
	if !r.live || r.started != started || !q.includes(r) {
		return false
	}
	el.apply(slot, r, q, after)
	return true
}

func (el *epollLoop) abortAll(cause session.Cause) {
	el.each(func(slot int32, r *record) { el.abort(slot, r, cause) })
}

// Stopped implements eventloop.Owner.
func (el *epollLoop) Stopped() {
	el.abortAll(session.Shutdown)
	el.splicer.close()
}

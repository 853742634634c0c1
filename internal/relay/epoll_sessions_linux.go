package relay

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/session"
)

const chunkRecords = 512

// epollLoop is the sessions of one loop. It is used on that loop only, but for
// what is atomic.
type epollLoop struct {
	*eventloop.Loop
	engine *Epoll
	times  ticks
	ended  Ended
	mover  Mover

	records  [][]record           // by slot, in chunks that never move; nil where trimmed
	again    []turn               // to be read again
	spare    []turn               // again's other backing
	moves    map[int32]*epollMove // by slot, of the sessions that are being moved
	looks    []int32              // slots of those to be looked at
	line     line[int32]          // slots of those that wait to look for a backend
	backlog  backlog
	splicer  splicer
	scratch  []byte
	injected []byte

	traffic   [2]session.Traffic
	published [2]struct{ messages, bytes atomic.Uint64 }
}

type turn struct {
	slot int32
	side session.Side
}

func (el *epollLoop) at(slot int32) *record {
	return &el.records[slot/chunkRecords][slot%chunkRecords]
}

func (el *epollLoop) each(f func(slot int32, r *record)) {
	el.eachIn(0, len(el.records), f)
}

// eachIn is each for the chunks from first to before last, as far as there are.
func (el *epollLoop) eachIn(first, last int, f func(slot int32, r *record)) {
	for c := first; c < min(last, len(el.records)); c++ {
		for i := range el.records[c] {
			if r := &el.records[c][i]; r.live {
				f(int32(c*chunkRecords+i), r)
			}
		}
	}
}

// trim drops the chunks without a session.
func (el *epollLoop) trim() {
	for c, chunk := range el.records {
		if !slices.ContainsFunc(chunk, func(r record) bool { return r.live }) {
			el.records[c] = nil
		}
	}
	el.backlog.trim()
	el.splicer.trim()
}

func (el *epollLoop) start(slot int32, socks [2]eventloop.Socket, s *Start) {
	chunk := int(slot) / chunkRecords
	for chunk >= len(el.records) {
		el.records = append(el.records, nil)
	}
	if el.records[chunk] == nil {
		el.records[chunk] = make([]record, chunkRecords)
	}
	r := el.at(slot)
	*r = newRecord(s, el.Now())
	if el.mover == nil {
		r.plan = 0
	}
	r.live = true
	el.engine.active.Add(1)
	for i := range socks {
		h := &r.half[i]
		h.fd = socks[i].FD
		if socks[i].Readable {
			h.flags |= isReadable
		}
		if socks[i].Ended {
			h.flags |= isEnded
		}
	}
	for i := range socks {
		side := session.Side(i)
		for _, early := range [2][]byte{s.Early[i], socks[i].Early} {
			if len(early) > 0 {
				el.carry(slot, r, side, early)
			}
		}
		if r.half[i].flags&isReadable != 0 {
			el.read(slot, r, side)
		}
	}
	el.settle(slot, r)
	if r.live {
		el.Arm(slot, r.due(el.Now(), el.times))
	}
}

// settle does what the record has come to want, after anything happened to it.
func (el *epollLoop) settle(slot int32, r *record) {
	const wants = wantClose | wantPing
	// Twice, since giving one side up may want a Close for the other.
	for i := 0; i < 2 && (r.half[0].flags|r.half[1].flags)&wants != 0; i++ {
		for s := range r.half {
			if r.half[s].flags&wants == 0 {
				continue
			}
			el.injected = r.inject(session.Side(s), el.Now(), el.injected[:0], &el.engine.texts)
			if len(el.injected) > 0 {
				el.write(slot, r, session.Side(s), el.injected)
				el.taking(r, session.Side(s))
			}
		}
	}
	if r.phase != staying {
		el.settleMove(slot, r)
	}
	if r.cause == session.None {
		return
	}
	for s := range r.half {
		if h := &r.half[s]; h.flags&isLost != 0 && h.pending != 0 {
			el.backlog.drop(h.pending)
			h.pending = 0
			// No event will tell of what the other side has sent meanwhile.
			el.readAgain(slot, r, session.Side(s).Other())
		}
	}
	if r.settled() {
		el.finish(slot, r)
		return
	}
	for s := range r.half {
		h := &r.half[s]
		if h.flags&(wantFin|finSent) == wantFin && drained(h) && h.fd != closedFD {
			h.flags |= finSent
			eventloop.ShutdownWrite(h.fd)
		}
	}
	el.Arm(slot, r.due(el.Now(), el.times))
}

// finish closes the sockets and tells of the end.
func (el *epollLoop) finish(slot int32, r *record) {
	if m := el.moves[slot]; m != nil {
		el.endMove(slot, r, m)
	}
	for s := range r.half {
		if fd := r.half[s].fd; fd != closedFD {
			eventloop.CloseFD(fd)
		}
		if p := r.half[s].pending; p != 0 {
			el.backlog.drop(p)
		}
	}
	summary := r.summary()
	*r = record{}
	el.Free(slot)
	el.engine.active.Add(-1)
	el.ended(summary)
}

// Expired implements eventloop.Owner.
func (el *epollLoop) Expired(slot int32) {
	r := el.at(slot)
	if m := el.moves[slot]; m != nil {
		r.waited(&m.move, el.Now())
	}
	r.expired(el.Now(), el.times, func(s session.Side) bool { return el.taking(r, s) })
	el.settle(slot, r)
	if r.live {
		el.Arm(slot, r.due(el.Now(), el.times))
	}
}

// taking reports whether s has acknowledged bytes since it was last asked, and
// has more to acknowledge: it lives, but a ping is still behind other bytes.
func (el *epollLoop) taking(r *record, s session.Side) bool {
	h := &r.half[s]
	info, err := unix.GetsockoptTCPInfo(int(h.fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return false
	}
	before := h.acked
	h.acked = uint32(info.Bytes_acked)
	return h.acked != before && eventloop.Unsent(h.fd) > 0
}

// BatchDone implements eventloop.Owner.
func (el *epollLoop) BatchDone() {
	for s := range el.traffic {
		el.published[s].messages.Store(el.traffic[s].Messages)
		el.published[s].bytes.Store(el.traffic[s].Bytes)
	}
}

// order schedules the closes that o asks for and returns how many.
func (el *epollLoop) order(o Order, late time.Duration, index int) int {
	var chosen []int32
	el.each(func(slot int32, r *record) {
		if r.chosen(&o) {
			chosen = append(chosen, slot)
		}
	})
	slices.SortFunc(chosen, func(a, b int32) int { return cmp.Compare(el.at(a).started, el.at(b).started) })
	loops := len(el.engine.loops)
	for i, slot := range chosen {
		after := o.Spread * time.Duration(i*loops+index) / time.Duration(len(chosen)*loops)
		el.schedule(&o, slot, after-late)
	}
	return len(chosen)
}

// schedule has o carried out on a session after so long.
func (el *epollLoop) schedule(o *Order, slot int32, after time.Duration) {
	r := el.at(slot)
	r.schedule(o, el.Now(), after)
	if r.phase == quitting {
		el.settleMove(slot, r)
	}
	el.Arm(slot, r.due(el.Now(), el.times))
}

// orderOne is order for the session that began at that time in the slot, if it
// is still there and to be chosen.
func (el *epollLoop) orderOne(o *Order, slot int32, started int64, after time.Duration) bool {
	if el.records[slot/chunkRecords] == nil {
		return false
	}
	r := el.at(slot)
	if !r.live || r.started != started || !r.chosen(o) {
		return false
	}
	el.schedule(o, slot, after)
	return true
}

func (el *epollLoop) abort(cause session.Cause) {
	el.each(func(slot int32, r *record) {
		r.end(cause, el.Now())
		el.finish(slot, r)
	})
}

// Stopped implements eventloop.Owner.
func (el *epollLoop) Stopped() {
	el.abort(session.Shutdown)
	el.splicer.close()
}

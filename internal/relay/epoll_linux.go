package relay

import (
	"cmp"
	"log/slog"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// Epoll is the Engine on event loops, and the transport.Network whose
// connections it takes. A session lives on the loop its client was accepted
// on, with both its sockets.
type Epoll struct {
	*eventloop.Group
	loops  []*epollLoop
	active atomic.Int64
}

// NewEpoll starts n loops.
func NewEpoll(n int, times Times, log *slog.Logger, ended Ended) (*Epoll, error) {
	e := &Epoll{}
	g, err := eventloop.NewGroup(n, log, func(l *eventloop.Loop) eventloop.Owner {
		el := &epollLoop{Loop: l, engine: e, times: times.ticks(), ended: ended}
		e.loops = append(e.loops, el)
		return el
	})
	if err != nil {
		return nil, err
	}
	e.Group = g
	return e, nil
}

// Start implements Engine.
func (e *Epoll) Start(client, backend transport.Conn, s Start) error {
	l, slot, socks, err := eventloop.Release(client, backend)
	if err != nil {
		return err
	}
	for _, el := range e.loops {
		if el.Loop == l {
			el.start(slot, socks, &s)
			return nil
		}
	}
	panic("relay: a connection of another engine") // Release took it from one of its loops
}

// CloseSessions implements Engine. The loops take turns in the spread.
func (e *Epoll) CloseSessions(o Order) int {
	began := time.Now()
	total := 0
	e.Group.Each(func(i int, l *eventloop.Loop) {
		total += e.loops[i].order(o, time.Since(began), i)
	})
	return total
}

// Abort implements Engine.
func (e *Epoll) Abort(cause session.Cause) {
	e.Group.Each(func(i int, _ *eventloop.Loop) { e.loops[i].abort(cause) })
}

// Each implements Engine.
func (e *Epoll) Each(f func(session.Summary)) {
	var all []session.Summary
	e.Group.Each(func(i int, _ *eventloop.Loop) {
		el := e.loops[i]
		el.each(func(_ int32, r *record) { all = append(all, r.summary(el.Now())) })
	})
	for _, s := range all {
		f(s)
	}
}

// Trim implements Engine.
func (e *Epoll) Trim() {
	e.Group.Each(func(i int, l *eventloop.Loop) {
		l.Trim()
		e.loops[i].trim()
	})
}

// Traffic implements Engine.
func (e *Epoll) Traffic() (sum [2]session.Traffic) {
	for _, el := range e.loops {
		for s := range sum {
			sum[s].Messages += el.published[s].messages.Load()
			sum[s].Bytes += el.published[s].bytes.Load()
		}
	}
	return sum
}

// Active implements Engine.
func (e *Epoll) Active() int { return int(e.active.Load()) }

// maxReads bounds how often one socket is read before the others have had
// their turn.
const maxReads = 16

const chunkRecords = 512

// epollLoop is the sessions of one loop. It is used on that loop only, but for
// what is atomic.
type epollLoop struct {
	*eventloop.Loop
	engine *Epoll
	times  ticks
	ended  Ended

	records  [][]record // by slot, in chunks that never move; nil where trimmed
	again    []turn     // to be read again
	spare    []turn     // again's other backing
	backlog  backlog
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
	for c := range el.records {
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

// Ready implements eventloop.Owner.
func (el *epollLoop) Ready(slot int32, side session.Side, ev eventloop.Events) {
	r := el.at(slot)
	h := &r.half[side]
	if ev.Ended() {
		h.flags |= isEnded
	}
	if h.pending != 0 && ev.Writable() {
		el.flush(slot, r, side)
	}
	if ev.Readable() {
		h.flags |= isReadable
		el.read(slot, r, side)
	}
	el.settle(slot, r)
}

// read carries over what the socket of s holds, as long as the other side
// takes it: while something waits to be written there, nothing is read here.
func (el *epollLoop) read(slot int32, r *record, s session.Side) {
	h, o := &r.half[s], &r.half[s.Other()]
	for range maxReads {
		if o.pending != 0 || h.flags&(isEOF|isLost) != 0 {
			return
		}
		n, e := eventloop.Recv(h.fd, el.Buf)
		switch {
		case e == syscall.EAGAIN:
			h.flags &^= isReadable
			return
		case e != 0:
			r.lose(s, el.Now())
			return
		case n == 0:
			r.eof(s, el.Now())
			return
		}
		el.carry(slot, r, s, el.Buf[:n])
		if n < len(el.Buf) && h.flags&isEnded == 0 {
			// Edge-triggered: a short read has emptied the socket.
			h.flags &^= isReadable
			return
		}
	}
	el.readAgain(slot, r, s)
}

// readAgain has s read in the next iteration, if there may be something.
func (el *epollLoop) readAgain(slot int32, r *record, s session.Side) {
	if h := &r.half[s]; h.flags&(isReadable|isAgain) == isReadable {
		h.flags |= isAgain
		el.again = append(el.again, turn{slot, s})
		el.CallAgain()
	}
}

// Again implements eventloop.Owner.
func (el *epollLoop) Again() {
	turns := el.again
	el.again, el.spare = el.spare[:0], turns
	for _, t := range turns {
		if el.records[t.slot/chunkRecords] == nil {
			continue // its session has ended since, like all beside it
		}
		r := el.at(t.slot)
		if r.live && r.half[t.side].flags&isAgain != 0 {
			r.half[t.side].flags &^= isAgain
			el.read(t.slot, r, t.side)
			el.settle(t.slot, r)
		}
	}
}

func (el *epollLoop) carry(slot int32, r *record, s session.Side, p []byte) {
	h := &r.half[s]
	bytes, messages := h.bytes, h.walker.Messages
	out := r.pass(s, p, el.Now(), &el.scratch)
	el.traffic[s].Bytes += h.bytes - bytes
	el.traffic[s].Messages += h.walker.Messages - messages
	if len(out) > 0 {
		el.write(slot, r, s.Other(), out)
	}
}

// write sends p to s; what the socket does not take is kept.
func (el *epollLoop) write(slot int32, r *record, s session.Side, p []byte) {
	h := &r.half[s]
	if h.flags&isLost != 0 {
		return
	}
	if h.pending != 0 {
		el.backlog.add(h.pending, p)
		return
	}
	n, e := eventloop.Send(h.fd, p)
	if e != 0 && e != syscall.EAGAIN {
		el.writeFailed(slot, r, s, e)
		return
	}
	if n < len(p) {
		h.pending = el.backlog.keep(p[n:])
	}
}

// writeFailed gives s up, after what it said before its end where it has one.
func (el *epollLoop) writeFailed(slot int32, r *record, s session.Side, e syscall.Errno) {
	if e != syscall.EPIPE && e != syscall.ECONNRESET {
		r.lose(s, el.Now())
		return
	}
	r.unwritable(s)
	r.half[s].flags |= isReadable | isEnded
	el.readAgain(slot, r, s)
}

// flush writes what was kept for s, and reads on from the other side once that
// is gone.
func (el *epollLoop) flush(slot int32, r *record, s session.Side) {
	h := &r.half[s]
	n, e := eventloop.Send(h.fd, el.backlog.bytes(h.pending))
	if n > 0 {
		h.lastIn = el.Now()
		if h.flags&isMuted == 0 {
			r.carried(el.Now())
		}
	}
	failed := e != 0 && e != syscall.EAGAIN
	if failed {
		el.writeFailed(slot, r, s, e)
	}
	if failed || el.backlog.sent(h.pending, n) {
		el.backlog.drop(h.pending)
		h.pending = 0
		if r.half[s.Other()].flags&isReadable != 0 {
			el.read(slot, r, s.Other())
		}
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
			el.injected = r.inject(session.Side(s), el.Now(), el.injected[:0])
			if len(el.injected) > 0 {
				el.write(slot, r, session.Side(s), el.injected)
				el.taking(r, session.Side(s))
			}
		}
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
		if h.flags&(wantFin|finSent) == wantFin && drained(h) {
			h.flags |= finSent
			eventloop.ShutdownWrite(h.fd)
		}
	}
	el.Arm(slot, r.due(el.Now(), el.times))
}

// finish closes the sockets and tells of the end.
func (el *epollLoop) finish(slot int32, r *record) {
	for s := range r.half {
		eventloop.CloseFD(r.half[s].fd)
		if p := r.half[s].pending; p != 0 {
			el.backlog.drop(p)
		}
	}
	summary := r.summary(el.Now())
	*r = record{}
	el.Free(slot)
	el.engine.active.Add(-1)
	el.ended(summary)
}

// Expired implements eventloop.Owner.
func (el *epollLoop) Expired(slot int32) {
	r := el.at(slot)
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
		r := el.at(slot)
		after := o.Spread * time.Duration(i*loops+index) / time.Duration(len(chosen)*loops)
		r.schedule(&o, el.Now(), after-late)
		el.Arm(slot, r.due(el.Now(), el.times))
	}
	return len(chosen)
}

func (el *epollLoop) abort(cause session.Cause) {
	el.each(func(slot int32, r *record) {
		r.end(cause, el.Now())
		el.finish(slot, r)
	})
}

// Stopped implements eventloop.Owner.
func (el *epollLoop) Stopped() { el.abort(session.Shutdown) }

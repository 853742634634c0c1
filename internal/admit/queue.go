package admit

import (
	"net/netip"
	"time"
)

// Waiter is a place in a queue.
type Waiter struct {
	pool      *Pool
	handshake Handshake
	deadline  time.Duration // since pool.began
	seq       uint64        // in the order of coming

	lane       *lane // nil once out of the queue
	inLane     links[Waiter]
	byDeadline links[Waiter]
}

func inLane(w *Waiter) *links[Waiter]     { return &w.inLane }
func byDeadline(w *Waiter) *links[Waiter] { return &w.byDeadline }

// queue is who waits. There is a line for each backend that is waited for,
// and one for whichever; in a line a lane for each address, which come in
// turn; in a lane the handshakes in their order.
type queue struct {
	lines     map[uint32]*line
	places    map[netip.Addr]int // how many each address has
	waiting   int
	seq       uint64
	deadlines list[Waiter] // by deadline
}

type line struct {
	want    uint32
	bucket  *Bucket // nil for whichever, and where it is forgotten
	lanes   map[netip.Addr]*lane
	turns   list[lane]
	waiting int
	stuck   bool // turn's own
}

type lane struct {
	line    *line
	client  netip.Addr
	inTurns links[lane]
	waiters list[Waiter]
}

func inTurns(ln *lane) *links[lane] { return &ln.inTurns }

func (q *queue) init() {
	q.lines, q.places = map[uint32]*line{}, map[netip.Addr]int{}
}

// forAny is how many wait for whichever backend.
func (q *queue) forAny() int {
	if l := q.lines[0]; l != nil {
		return l.waiting
	}
	return 0
}

// add puts w last in its lane, or first.
func (q *queue) add(w *Waiter, client netip.Addr, want uint32, b *Bucket, first bool) {
	l := q.lines[want]
	if l == nil {
		l = &line{want: want, bucket: b, lanes: map[netip.Addr]*lane{}}
		q.lines[want] = l
	}
	ln := l.lanes[client]
	if ln == nil {
		ln = &lane{line: l, client: client}
		l.lanes[client] = ln
		var before *lane
		if first {
			before = l.turns.first
		}
		l.turns.insert(ln, before, inTurns)
	}
	q.seq++
	w.lane, w.seq = ln, q.seq
	var before *Waiter
	if first {
		w.seq, before = 0, ln.waiters.first
	}
	ln.waiters.insert(w, before, inLane)
	q.waiting++
	q.places[client]++
	l.waiting++
	if l.bucket != nil {
		l.bucket.waiting.Add(1)
	}
	q.time(w)
}

// time puts w among the others by its deadline, which is the latest as a rule.
func (q *queue) time(w *Waiter) {
	var later *Waiter
	for e := q.deadlines.last; e != nil && e.deadline > w.deadline; e = e.byDeadline.prev {
		later = e
	}
	q.deadlines.insert(w, later, byDeadline)
}

// remove takes w out. If it was served its address has had its turn.
func (q *queue) remove(w *Waiter, served bool) {
	ln := w.lane
	l := ln.line
	w.lane = nil
	ln.waiters.remove(w, inLane)
	q.deadlines.remove(w, byDeadline)
	empty := ln.waiters.first == nil
	if served || empty {
		l.turns.remove(ln, inTurns)
	}
	if empty {
		delete(l.lanes, ln.client)
	} else if served {
		l.turns.insert(ln, nil, inTurns)
	}
	if l.bucket != nil {
		l.bucket.waiting.Add(-1)
	}
	if l.waiting--; l.waiting == 0 {
		delete(q.lines, l.want)
	}
	if q.places[ln.client]--; q.places[ln.client] == 0 {
		delete(q.places, ln.client)
	}
	q.waiting--
}

// head is whose turn it is in the line.
func (l *line) head() *Waiter { return l.turns.first.waiters.first }

// before tells whether l's head came before m's. Those that have waited before
// go by backend, lest chance has a part in it.
func (l *line) before(m *line) bool {
	a, b := l.head().seq, m.head().seq
	return a < b || a == b && l.want < m.want
}

// next is the line whose head came first, of those that aren't stuck.
func (q *queue) next() (first *line) {
	for _, l := range q.lines {
		if !l.stuck && (first == nil || l.before(first)) {
			first = l
		}
	}
	return first
}

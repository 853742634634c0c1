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

	lane           *lane // nil once out of the queue
	next, prev     *Waiter
	later, earlier *Waiter // by deadline
}

// queue is who waits. There is a line for each backend that is waited for,
// and one for whichever; in a line a lane for each address, which come in
// turn; in a lane the handshakes in their order.
type queue struct {
	lines          map[uint32]*line
	places         map[netip.Addr]int // how many each address has
	waiting        int
	seq            uint64
	oldest, newest *Waiter // by deadline
}

type line struct {
	want        uint32
	bucket      *Bucket // nil for whichever, and where it is forgotten
	lanes       map[netip.Addr]*lane
	first, last *lane
	waiting     int
	stuck       bool // turn's own
}

type lane struct {
	line        *line
	client      netip.Addr
	next, prev  *lane
	first, last *Waiter
}

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
		l.enter(ln, first)
	}
	q.seq++
	w.lane, w.seq = ln, q.seq
	if first {
		w.seq = 0
		w.next, ln.first = ln.first, w
		if w.next != nil {
			w.next.prev = w
		} else {
			ln.last = w
		}
	} else {
		w.prev, ln.last = ln.last, w
		if w.prev != nil {
			w.prev.next = w
		} else {
			ln.first = w
		}
	}
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
	e := q.newest
	for e != nil && e.deadline > w.deadline {
		e = e.earlier
	}
	w.earlier = e
	if e == nil {
		w.later, q.oldest = q.oldest, w
	} else {
		w.later, e.later = e.later, w
	}
	if w.later == nil {
		q.newest = w
	} else {
		w.later.earlier = w
	}
}

// remove takes w out. If it was served its address has had its turn.
func (q *queue) remove(w *Waiter, served bool) {
	ln := w.lane
	l := ln.line
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		ln.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		ln.last = w.prev
	}
	if w.earlier != nil {
		w.earlier.later = w.later
	} else {
		q.oldest = w.later
	}
	if w.later != nil {
		w.later.earlier = w.earlier
	} else {
		q.newest = w.earlier
	}
	w.lane, w.next, w.prev, w.later, w.earlier = nil, nil, nil, nil, nil
	if served || ln.first == nil {
		l.leave(ln)
	}
	if ln.first == nil {
		delete(l.lanes, ln.client)
	} else if served {
		l.enter(ln, false)
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

func (l *line) enter(ln *lane, first bool) {
	if first {
		ln.prev, ln.next, l.first = nil, l.first, ln
		if ln.next != nil {
			ln.next.prev = ln
		} else {
			l.last = ln
		}
		return
	}
	ln.next, ln.prev, l.last = nil, l.last, ln
	if ln.prev != nil {
		ln.prev.next = ln
	} else {
		l.first = ln
	}
}

func (l *line) leave(ln *lane) {
	if ln.prev != nil {
		ln.prev.next = ln.next
	} else {
		l.first = ln.next
	}
	if ln.next != nil {
		ln.next.prev = ln.prev
	} else {
		l.last = ln.prev
	}
}

// head is whose turn it is in the line.
func (l *line) head() *Waiter { return l.first.first }

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

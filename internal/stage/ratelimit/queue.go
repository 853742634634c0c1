package ratelimit

import (
	"net/netip"
	"time"
)

// Entry is a handshake's place in the queue.
type Entry struct {
	limiter   *Limiter
	handshake Handshake
	deadline  time.Duration // since limiter.start
	seq       uint64        // order of arrival; 0 if it has waited before

	queue      *clientQueue // nil once removed
	inClient   link[Entry]
	byDeadline link[Entry]
}

func inClient(w *Entry) *link[Entry]   { return &w.inClient }
func byDeadline(w *Entry) *link[Entry] { return &w.byDeadline }

// queue holds the handshakes that wait. There is a backendQueue for each backend
// that is waited for, and one for any backend. In each there is a clientQueue for
// each client address; these take turns. In each of those the handshakes are in
// order.
type queue struct {
	backends  map[uint32]*backendQueue
	byClient  map[netip.Addr]int // how many each address has
	waiting   int
	seq       uint64
	deadlines list[Entry] // by deadline
}

type backendQueue struct {
	backend uint32
	bucket  *Bucket // nil for any backend, and after Forget
	clients map[netip.Addr]*clientQueue
	turns   list[clientQueue]
	waiting int
	blocked bool // used by dequeueReady only
}

type clientQueue struct {
	backend *backendQueue
	client  netip.Addr
	inTurns link[clientQueue]
	entries list[Entry]
}

func inTurns(ln *clientQueue) *link[clientQueue] { return &ln.inTurns }

func (q *queue) init() {
	q.backends, q.byClient = map[uint32]*backendQueue{}, map[netip.Addr]int{}
}

// waitingForAny is how many wait for any backend.
func (q *queue) waitingForAny() int {
	if l := q.backends[0]; l != nil {
		return l.waiting
	}
	return 0
}

// add puts w at the end of its client's queue, or at the front.
func (q *queue) add(w *Entry, client netip.Addr, want uint32, b *Bucket, first bool) {
	l := q.backends[want]
	if l == nil {
		l = &backendQueue{backend: want, bucket: b, clients: map[netip.Addr]*clientQueue{}}
		q.backends[want] = l
	}
	ln := l.clients[client]
	if ln == nil {
		ln = &clientQueue{backend: l, client: client}
		l.clients[client] = ln
		var before *clientQueue
		if first {
			before = l.turns.first
		}
		l.turns.insert(ln, before, inTurns)
	}
	q.seq++
	w.queue, w.seq = ln, q.seq
	var before *Entry
	if first {
		w.seq, before = 0, ln.entries.first
	}
	ln.entries.insert(w, before, inClient)
	q.waiting++
	q.byClient[client]++
	l.waiting++
	if l.bucket != nil {
		l.bucket.waiting.Add(1)
	}
	q.insertByDeadline(w)
}

// insertByDeadline keeps deadlines sorted. The new one is usually the latest.
func (q *queue) insertByDeadline(w *Entry) {
	var later *Entry
	for e := q.deadlines.last; e != nil && e.deadline > w.deadline; e = e.byDeadline.prev {
		later = e
	}
	q.deadlines.insert(w, later, byDeadline)
}

// remove removes w. If it was served, its client has had its turn.
func (q *queue) remove(w *Entry, served bool) {
	ln := w.queue
	l := ln.backend
	w.queue = nil
	ln.entries.remove(w, inClient)
	q.deadlines.remove(w, byDeadline)
	empty := ln.entries.first == nil
	if served || empty {
		l.turns.remove(ln, inTurns)
	}
	if empty {
		delete(l.clients, ln.client)
	} else if served {
		l.turns.insert(ln, nil, inTurns)
	}
	if l.bucket != nil {
		l.bucket.waiting.Add(-1)
	}
	if l.waiting--; l.waiting == 0 {
		delete(q.backends, l.backend)
	}
	if q.byClient[ln.client]--; q.byClient[ln.client] == 0 {
		delete(q.byClient, ln.client)
	}
	q.waiting--
}

// head is the entry whose turn it is.
func (l *backendQueue) head() *Entry { return l.turns.first.entries.first }

// before reports whether l's head came before m's. Heads that have waited before
// are ordered by backend ID, so that the order doesn't depend on chance.
func (l *backendQueue) before(m *backendQueue) bool {
	a, b := l.head().seq, m.head().seq
	return a < b || a == b && l.backend < m.backend
}

// next is the queue whose head came first, of those that aren't blocked.
func (q *queue) next() (first *backendQueue) {
	for _, l := range q.backends {
		if !l.blocked && (first == nil || l.before(first)) {
			first = l
		}
	}
	return first
}

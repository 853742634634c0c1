package sticky

import (
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/clock"
)

// Table has the keys of one pool. It has no pointers for the garbage collector to follow,
// about 80 bytes for each key.
//
// Find and Set need the lock, so that one caller at a time finds out that a key is unknown,
// chooses a backend and sets it: of several first requests with the same key, all go to the
// same backend.
type Table struct {
	clock  clock.Clock
	start  time.Time
	secret *[secretSize]byte

	mu      sync.Mutex // guards the following
	max     int
	expire  time.Duration
	index   map[Key]slot
	entries [][]entry // in chunks, so that a table that grows isn't copied
	used    int       // slots of entries that were ever used
	free    slot      // the first of those that are free, linked by next
	// The list of all keys by their last use. Its ends are none if it is empty.
	newest, oldest slot
	counts         Stats
}

// slot is a place in Table.entries, counted from 1; none is 0.
type slot uint32

const none slot = 0

const chunk = 1024 // entries

type entry struct {
	key        Key
	home       Home
	used       time.Duration // since Table.start
	prev, next slot          // more and less recently used
}

func (t *Table) at(s slot) *entry { return &t.entries[(s-1)/chunk][(s-1)%chunk] }

// Lock locks the table for calls of Find and Set. Between these the caller must not wait.
func (t *Table) Lock() { t.mu.Lock() }

// Unlock ends what Lock began.
func (t *Table) Unlock() { t.mu.Unlock() }

// Find returns the backend that a key belongs to, and notes that the key is used. The table
// must be locked.
func (t *Table) Find(k Key) (Home, bool) {
	s := t.index[k]
	if s == none {
		return 0, false
	}
	now := t.now()
	if t.isOver(s, now) {
		t.drop(s)
		t.counts.Expired++
		return 0, false
	}
	t.use(s, now)
	return t.at(s).home, true
}

// Set makes a key belong to a backend. The table must be locked.
func (t *Table) Set(k Key, h Home) {
	now := t.now()
	s := t.index[k]
	if s == none {
		// Two each time, so that those that have expired become fewer.
		for range 2 {
			if t.oldest != none && t.isOver(t.oldest, now) {
				t.drop(t.oldest)
				t.counts.Expired++
			}
		}
		if len(t.index) >= t.max {
			t.evict()
		}
		s = t.add(k)
		t.counts.Learned++
	}
	t.at(s).home = h
	t.use(s, now)
}

func (t *Table) now() time.Duration { return t.clock.Now().Sub(t.start) }

func (t *Table) isOver(s slot, now time.Duration) bool { return now-t.at(s).used >= t.expire }

func (t *Table) evict() {
	t.drop(t.oldest)
	t.counts.Evicted++
}

// add makes an entry, which isn't in the list yet.
func (t *Table) add(k Key) slot {
	if t.index == nil {
		t.index = map[Key]slot{}
	}
	s := t.free
	if s != none {
		t.free = t.at(s).next
	} else {
		if t.used == len(t.entries)*chunk {
			t.entries = append(t.entries, make([]entry, chunk))
		}
		t.used++
		s = slot(t.used)
	}
	*t.at(s) = entry{key: k}
	t.index[k] = s
	return s
}

// use puts s at the beginning of the list.
func (t *Table) use(s slot, now time.Duration) {
	e := t.at(s)
	e.used = now
	if t.newest == s {
		return
	}
	if e.prev != none {
		t.unlink(s)
	}
	e.prev, e.next = none, t.newest
	if t.newest != none {
		t.at(t.newest).prev = s
	} else {
		t.oldest = s
	}
	t.newest = s
}

func (t *Table) unlink(s slot) {
	e := t.at(s)
	if e.prev != none {
		t.at(e.prev).next = e.next
	} else {
		t.newest = e.next
	}
	if e.next != none {
		t.at(e.next).prev = e.prev
	} else {
		t.oldest = e.prev
	}
}

// drop forgets a key. An empty table has no memory.
func (t *Table) drop(s slot) {
	t.unlink(s)
	e := t.at(s)
	delete(t.index, e.key)
	*e = entry{next: t.free}
	t.free = s
	if len(t.index) == 0 {
		t.index, t.entries, t.used, t.free = nil, nil, 0, none
	}
}

// batch is how many keys are dropped at once: others wait meanwhile.
const batch = 100

func (t *Table) configure(o Options) {
	t.mu.Lock()
	t.max, t.expire = o.Max, o.Expire
	t.mu.Unlock()
	for more := true; more; {
		t.mu.Lock()
		for n := 0; n < batch && len(t.index) > t.max; n++ {
			t.evict()
		}
		more = len(t.index) > t.max
		t.mu.Unlock()
	}
}

// stats also drops what has expired.
func (t *Table) stats() Stats {
	for {
		t.mu.Lock()
		now, n := t.now(), 0
		for n < batch && t.oldest != none && t.isOver(t.oldest, now) {
			t.drop(t.oldest)
			t.counts.Expired++
			n++
		}
		s := t.counts
		s.Keys = len(t.index)
		t.mu.Unlock()
		if n < batch {
			return s
		}
	}
}

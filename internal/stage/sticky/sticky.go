// Package sticky remembers which backends keys belong to, such as the session ids of an
// application: the affinity that is learned. A key is found in a request, or in the answer
// of a backend.
//
// Each pool has a Table, which survives reloads. It is bounded: if it is full, the key that
// wasn't used for the longest time makes room, and a key that isn't used for a while
// expires. Clients choose keys, so that they can push out others by making up new ones, but
// only in that order.
//
// The package doesn't know requests, and doesn't choose backends: the spine does.
package sticky

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/holdfast-ws/holdfast/internal/clock"
)

// Key stands for a value. Two values have the same key only by an accident that nobody can
// bring about: it is half of a SHA-256 over a secret of the process and the value.
type Key [16]byte

// Home stands for the name of a backend.
type Home uint64

// HomeOf is the Home of a backend of that name. A backend that gets another address and
// keeps its name keeps its keys.
func HomeOf(name string) Home { return Home(xxhash.Sum64String(name)) }

// Options bound a Table.
type Options struct {
	Max    int           // keys, at least 1
	Expire time.Duration // of a key that isn't used
}

// Tables has the tables of all pools.
type Tables struct {
	clock  clock.Clock
	secret [secretSize]byte

	mu     sync.Mutex // guards the following
	tables map[string]*Table
}

const secretSize = 32

// New makes Tables without any. clock may be nil, which means the system's.
func New(c clock.Clock) *Tables {
	t := &Tables{clock: clock.Or(c), tables: map[string]*Table{}}
	rand.Read(t.secret[:]) // never fails
	return t
}

// Configure returns the table of a pool, and makes it if there is none.
func (t *Tables) Configure(pool string, o Options) *Table {
	t.mu.Lock()
	table := t.tables[pool]
	if table == nil {
		table = &Table{clock: t.clock, start: t.clock.Now(), secret: &t.secret}
		t.tables[pool] = table
	}
	t.mu.Unlock()
	table.configure(o)
	return table
}

// Keep forgets the tables of all other pools.
func (t *Tables) Keep(has func(pool string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for pool := range t.tables {
		if !has(pool) {
			delete(t.tables, pool)
		}
	}
}

// Stats lists what is in the tables, by pool.
func (t *Tables) Stats() map[string]Stats {
	t.mu.Lock()
	tables := make(map[string]*Table, len(t.tables))
	for pool, table := range t.tables {
		tables[pool] = table
	}
	t.mu.Unlock()
	stats := make(map[string]Stats, len(tables))
	for pool, table := range tables {
		stats[pool] = table.stats()
	}
	return stats
}

// Stats is what is in a table.
type Stats struct {
	Keys    int    // now
	Learned uint64 // keys that were new, since the start
	Expired uint64 // keys that weren't used for a while
	Evicted uint64 // keys that made room for others
}

// KeyOf is the key of a value. The value of an address differs from a text of the same
// bytes, which a client could send for the address of another.
func (t *Table) KeyOf(value []byte, isAddress bool) Key {
	var room [256]byte
	kind := byte('t')
	if isAddress {
		kind = 'a'
	}
	sum := sha256.Sum256(append(append(append(room[:0], t.secret[:]...), kind), value...))
	return Key(sum[:len(Key{})])
}

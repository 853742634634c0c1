// Package tally counts by key: how many there are at once (Counts), and how fast they
// come (Buckets). Both need memory only for keys that are in use, within a bound.
//
// A key is a hash that clients can't predict, such as one of hash/maphash, so that
// nobody can choose two with the same key. It should use all 64 bits.
package tally

import "sync"

// shards divides the keys, so that few callers wait for each other.
const shards = 64

// Counts counts by key. The zero value is ready. It has an entry only for keys with
// a count above 0, so it is as large as what it counts.
type Counts struct {
	shards [shards]struct {
		mu   sync.Mutex // guards the following
		of   map[uint64]int
		peak int // the most that of has had
	}
}

// worthKeeping bounds how large a map may have been that is used again when it is
// empty: maps don't shrink.
const worthKeeping = 1024

// Add counts one more of key, and reports false if there are already most.
func (c *Counts) Add(key uint64, most int) bool {
	s := &c.shards[key%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.of[key]
	if n >= most {
		return false
	}
	if s.of == nil {
		s.of = map[uint64]int{}
	}
	s.of[key] = n + 1
	s.peak = max(s.peak, len(s.of))
	return true
}

// Remove takes back one Add that has returned true.
func (c *Counts) Remove(key uint64) {
	s := &c.shards[key%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.of[key]; n > 1 {
		s.of[key] = n - 1
		return
	}
	delete(s.of, key)
	if len(s.of) == 0 && s.peak > worthKeeping {
		s.of, s.peak = nil, 0
	}
}

// Len is how many keys have a count.
func (c *Counts) Len() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.of)
		s.mu.Unlock()
	}
	return n
}

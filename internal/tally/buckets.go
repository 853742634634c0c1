package tally

import (
	"sync"
	"time"
)

// Rate is how fast events of one key may come: in any time t, at most t/Every+Burst.
type Rate struct {
	Every time.Duration // between two events in the long run; more than 0
	Burst int           // at least 1; Every×Burst must be less than 200 years
}

// PerSecond is a Rate of n events a second, from 1/3600 to a million.
func PerSecond(n float64, burst int) Rate {
	return Rate{Every: time.Duration(float64(time.Second) / n), Burst: burst}
}

// take takes a token of a bucket that will be full at a time, or finds how long from
// now the next one comes. It returns when the bucket will be full after that. That is
// all there is to know of a bucket: it is the theoretical arrival time of the generic
// cell rate algorithm. Times are in nanoseconds.
func (r Rate) take(full, now int64) (fullThen int64, wait time.Duration) {
	every, burst := int64(r.Every), int64(r.Burst)
	full = min(max(full, now), now+every*burst) // the rate may have been another
	if wait = time.Duration(full - now - every*(burst-1)); wait > 0 {
		return full, wait
	}
	return full + every, 0
}

// Bucket is a single token bucket, which is full at first. It is not safe for
// concurrent use.
type Bucket struct{ full int64 } // as Unix time

// Take takes a token and returns 0, or returns how long from now the next one comes.
func (b *Bucket) Take(r Rate, now time.Time) (wait time.Duration) {
	b.full, wait = r.take(b.full, now.UnixNano())
	return wait
}

// Buckets has a token bucket for each key. A bucket that is full again needs no entry.
//
// There are two maps, of which the new one gets each key that is asked for. When all
// buckets in the old one are full, it is emptied and they change places. They also do
// if the new one has as many keys as it may: then the keys that have not been asked for
// since it was begun are forgotten, and have full buckets. So whoever makes up many
// keys gets no more out of it than from further ones, and the buckets of keys that
// are asked for all the time stay.
type Buckets struct {
	began  time.Time
	most   int // of a map
	shards [shards]bucketShard
}

type bucketShard struct {
	mu       sync.Mutex       // guards the following
	new, old map[uint64]int64 // when the bucket of a key will be full, see Rate.take
	// newFull and oldFull are when the last bucket of each map is full.
	newFull, oldFull int64
}

// NewBuckets makes Buckets that remember at most keys keys in each of two maps.
func NewBuckets(keys int) *Buckets {
	return &Buckets{began: time.Now(), most: max(1, keys/shards)}
}

// Take takes a token of key's bucket and returns 0. If there is none, it returns how
// long from now the next one comes. The rate may be another one each time.
func (b *Buckets) Take(key uint64, r Rate) (wait time.Duration) {
	now := int64(time.Since(b.began))
	s := &b.shards[key%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if now >= s.oldFull {
		s.rotate()
	}
	full, isNew := s.new[key]
	if !isNew {
		full = s.old[key]
	}
	full, wait = r.take(full, now)
	if !isNew && len(s.new) >= b.most {
		s.rotate()
	}
	if s.new == nil {
		s.new = map[uint64]int64{}
	}
	s.new[key] = full
	s.newFull = max(s.newFull, full)
	return wait
}

// Wait returns what Take would return, and takes nothing.
func (b *Buckets) Wait(key uint64, r Rate) (wait time.Duration) {
	s := &b.shards[key%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	full, isNew := s.new[key]
	if !isNew {
		full = s.old[key]
	}
	_, wait = r.take(full, int64(time.Since(b.began)))
	return wait
}

// rotate forgets the old map.
func (s *bucketShard) rotate() {
	empty := s.old
	s.old, s.oldFull = s.new, s.newFull
	if len(empty) > worthKeeping {
		empty = nil
	}
	clear(empty)
	s.new, s.newFull = empty, 0
}

// Len is how many keys are remembered; those in both maps count twice.
func (b *Buckets) Len() (n int) {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		n += len(s.new) + len(s.old)
		s.mu.Unlock()
	}
	return n
}

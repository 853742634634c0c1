package admit

import (
	"sync"
	"sync/atomic"
	"time"
)

// Bucket bounds the handshakes of one backend: never more than Rate×t+Burst in
// any time t, and less while the backend has just started or is slow. It holds
// a little less than Burst, see size.
type Bucket struct {
	pool    *Pool
	risen   func() time.Time
	waiting atomic.Int32 // how many wait for this very backend

	mu     sync.Mutex // guards the following
	tokens float64
	at     time.Time // when tokens were counted
	pace   pace
}

func newBucket(p *Pool, risen func() time.Time) *Bucket {
	if risen == nil {
		risen = func() time.Time { return time.Time{} }
	}
	b := &Bucket{pool: p, risen: risen, at: time.Now(), pace: newPace()}
	b.tokens = float64(p.options.Load().Burst) // the first refill cuts it
	return b
}

// TryPass takes a token, or reports false where there is none. A handshake
// that is not queued doesn't get past those who wait: there is none for it
// either while somebody does for this backend or for any.
func (b *Bucket) TryPass(queued bool) bool { return b.try(queued, 1) }

// Ready tells whether TryPass would be true now.
func (b *Bucket) Ready(queued bool) bool { return b.try(queued, 0) }

func (b *Bucket) try(queued bool, take float64) bool {
	o := b.pool.options.Load()
	if o.Rate <= 0 {
		return true
	}
	if !queued && (b.pool.forAny.Load() > 0 || b.waiting.Load() > 0) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(o, time.Now())
	if b.tokens < 1 {
		return false
	}
	b.tokens -= take
	return true
}

// Return gives a token back that TryPass gave and that came to nothing: the
// backend has not heard of the handshake.
func (b *Bucket) Return() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens++ // the next refill cuts it to the bucket's size
}

// Done tells how a handshake went that had a token: how long the backend took
// to answer it, and whether it did.
func (b *Bucket) Done(took time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.refill(b.pool.options.Load(), now)
	b.pace.done(now, took, ok)
}

// Pace is the part of its rate that the backend has now, from 0 to 1.
func (b *Bucket) Pace() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.part(b.pool.options.Load(), time.Now())
}

// size is how many of a burst are let go at once. Handshakes that left one after
// another may reach the backend together, having been delayed on their way: it
// is not to see more than Rate and Burst in a second even so.
func (o *Options) size() int { return o.Burst - o.Burst/5 }

// refill is called under mu.
func (b *Bucket) refill(o *Options, now time.Time) {
	part := b.part(o, now)
	b.tokens += max(now.Sub(b.at), 0).Seconds() * o.Rate * part
	b.tokens = min(b.tokens, max(1, float64(o.size())*part))
	b.at = now
}

// next is how long from now a token takes to come, 0 where there is one.
func (b *Bucket) next(o *Options, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(o, now)
	if b.tokens >= 1 || o.Rate <= 0 {
		return 0
	}
	return time.Duration((1 - b.tokens) / (o.Rate * b.part(o, now)) * float64(time.Second))
}

// rampFloor is the part of its rate that a backend begins with.
const rampFloor = 0.1

func (b *Bucket) part(o *Options, now time.Time) float64 {
	ramp := 1.0
	if risen := b.risen(); o.Ramp > 0 && !risen.IsZero() {
		// It may be known beforehand when one comes back; asked nevertheless,
		// because hardly any other is left, it is to have its part.
		if up := now.Sub(risen); up >= 0 && up < o.Ramp {
			ramp = rampFloor + (1-rampFloor)*up.Seconds()/o.Ramp.Seconds()
		}
	}
	return ramp * b.pace.part(now)
}

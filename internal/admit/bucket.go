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
	let    int       // by the queue, of whom Sent or Return has yet to tell
	letAt  time.Time // the last of them
}

func newBucket(p *Pool, risen func() time.Time) *Bucket {
	if risen == nil {
		risen = func() time.Time { return time.Time{} }
	}
	b := &Bucket{pool: p, risen: risen, at: p.clock.Now(), pace: newPace()}
	b.tokens = float64(p.options.Load().Burst) // the first refill cuts it
	return b
}

// TryPass takes a token, or reports false where there is none. A handshake
// that is not queued doesn't get past those who wait: there is none for it
// either while somebody does for this backend or for any. For one that is
// queued, Sent or Return must follow: it has a way to go to its backend, and
// where that is busy, those that it holds up would arrive together.
func (b *Bucket) TryPass(queued bool) bool { return b.try(queued, true) }

// Ready tells whether TryPass would be true now.
func (b *Bucket) Ready(queued bool) bool { return b.try(queued, false) }

func (b *Bucket) try(queued, take bool) bool {
	o := b.pool.options.Load()
	if o.Rate <= 0 {
		return true
	}
	if !queued && (b.pool.forAny.Load() > 0 || b.waiting.Load() > 0) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.pool.clock.Now()
	b.refill(o, now)
	if b.tokens < 1 || queued && b.letEnough(o, now) {
		return false
	}
	if take {
		b.tokens--
		if queued {
			b.let++
			b.letAt = now
		}
	}
	return true
}

// letEnough tells whether as many are on their way to the backend as may be.
// It is called under mu.
func (b *Bucket) letEnough(o *Options, now time.Time) bool {
	if b.let > 0 && now.Sub(b.letAt) > time.Second {
		b.let = 0 // whatever became of them, others are not to wait for it
	}
	return b.let >= max(1, o.Burst-o.size())
}

// Sent tells that a queued handshake that had a token is on its way to the
// backend.
func (b *Bucket) Sent() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arrived()
}

// arrived is called under mu.
func (b *Bucket) arrived() {
	if b.let > 0 {
		b.let--
		b.pool.loop.Nudge()
	}
}

// Return gives a token back that TryPass gave one that is queued, and that came
// to nothing: the backend has not heard of the handshake.
func (b *Bucket) Return() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arrived()
	b.tokens++ // the next refill cuts it to the bucket's size
}

// Book takes a token for a handshake that has no place in the queue, and tells
// how long from now it comes; or takes none and reports false where that is more
// than most. The handshake is not to be sent before. Those that are booked come
// before those in the queue.
func (b *Bucket) Book(most time.Duration) (after time.Duration, ok bool) {
	o := b.pool.options.Load()
	if o.Rate <= 0 {
		return 0, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.pool.clock.Now()
	b.refill(o, now)
	if b.tokens < 1 {
		after = time.Duration((1 - b.tokens) / (o.Rate * b.part(o, now)) * float64(time.Second))
	}
	if after > most {
		return 0, false
	}
	b.tokens--
	return after, true
}

// Spend takes a token for a handshake that waits for none: those that follow
// wait for longer, for the sake of a burst of them at most.
func (b *Bucket) Spend() {
	o := b.pool.options.Load()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(o, b.pool.clock.Now())
	if o.Rate > 0 && b.tokens > -float64(o.Burst) {
		b.tokens--
	}
}

// Refund gives back what Book took, for a handshake that isn't sent.
func (b *Bucket) Refund() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens++ // the next refill cuts it to the bucket's size
	b.pool.loop.Nudge()
}

// Done tells how a handshake went that had a token: how long the backend took
// to answer it, and whether it did.
func (b *Bucket) Done(took time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.pool.clock.Now()
	b.refill(b.pool.options.Load(), now)
	b.pace.done(now, took, ok)
}

// Pace is the part of its rate that the backend has now, from 0 to 1.
func (b *Bucket) Pace() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.part(b.pool.options.Load(), b.pool.clock.Now())
}

// size is how many of a burst are let go at once. The rest is for those that
// were let go before and have been delayed on their way, see letEnough: the
// backend is not to see more than Rate and Burst in a second even so.
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

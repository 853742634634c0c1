package ratelimit

import (
	"sync"
	"sync/atomic"
	"time"
)

// Bucket is the token bucket of one backend. In any time t it lets through at
// most Rate×t+Burst handshakes, and fewer while the backend has just started or
// is slow. It holds slightly less than Burst tokens, see bucketSize.
type Bucket struct {
	limiter *Limiter
	upSince func() time.Time
	waiting atomic.Int32 // how many wait for exactly this backend

	mu           sync.Mutex // guards the following
	tokens       float64
	refilled     time.Time // when tokens was last computed
	adaptive     adaptiveRate
	inFlight     int       // released from the queue, without MarkSent or Return yet
	lastReleased time.Time // when the last of them was released
}

func newBucket(p *Limiter, risen func() time.Time) *Bucket {
	if risen == nil {
		risen = func() time.Time { return time.Time{} }
	}
	b := &Bucket{limiter: p, upSince: risen, refilled: p.clock.Now(), adaptive: newAdaptiveRate()}
	b.tokens = float64(p.options.Load().Burst) // the first refill limits it
	return b
}

// TryTake takes a token, or reports false if there is none. A handshake that
// isn't queued can't overtake: for it there is no token while others wait for
// this backend or for any. After a queued one, call MarkSent or Return: it takes
// a while until it is sent, and if the process is busy, all that are delayed
// would arrive together.
func (b *Bucket) TryTake(queued bool) bool { return b.take(queued, true) }

// CanTake reports whether TryTake would succeed now.
func (b *Bucket) CanTake(queued bool) bool { return b.take(queued, false) }

func (b *Bucket) take(queued, take bool) bool {
	o := b.limiter.options.Load()
	if o.Rate <= 0 {
		return true
	}
	if !queued && (b.limiter.waitingForAny.Load() > 0 || b.waiting.Load() > 0) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.limiter.clock.Now()
	b.refill(o, now)
	if b.tokens < 1 || queued && b.inFlightFull(o, now) {
		return false
	}
	if take {
		b.tokens--
		if queued {
			b.inFlight++
			b.lastReleased = now
		}
	}
	return true
}

// inFlightFull reports whether as many handshakes are on their way to the backend
// as may be. mu must be held.
func (b *Bucket) inFlightFull(o *Options, now time.Time) bool {
	if b.inFlight > 0 && now.Sub(b.lastReleased) > time.Second {
		b.inFlight = 0 // others must not wait for handshakes that got lost
	}
	return b.inFlight >= max(1, o.Burst-o.bucketSize())
}

// MarkSent reports that a queued handshake which had taken a token is being sent
// to the backend.
func (b *Bucket) MarkSent() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.landed()
}

// landed ends the flight of one handshake. mu must be held.
func (b *Bucket) landed() {
	if b.inFlight > 0 {
		b.inFlight--
		b.limiter.loop.Nudge()
	}
}

// Return gives back the token of a queued handshake that was not sent to the
// backend.
func (b *Bucket) Return() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.landed()
	b.tokens++ // the next refill limits it
}

// Reserve takes a token for a handshake that isn't queued, and returns how long
// from now that token becomes valid; the handshake must not be sent before. If
// that is longer than most, it takes none and reports false. Reservations come
// before the queue.
func (b *Bucket) Reserve(most time.Duration) (after time.Duration, ok bool) {
	o := b.limiter.options.Load()
	if o.Rate <= 0 {
		return 0, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.limiter.clock.Now()
	b.refill(o, now)
	if b.tokens < 1 {
		after = time.Duration((1 - b.tokens) / (o.Rate * b.factor(o, now)) * float64(time.Second))
	}
	if after > most {
		return 0, false
	}
	b.tokens--
	return after, true
}

// Charge takes a token for a handshake that doesn't wait for one. Those that
// follow wait longer, but never for more than a burst of such handshakes.
func (b *Bucket) Charge() {
	o := b.limiter.options.Load()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(o, b.limiter.clock.Now())
	if o.Rate > 0 && b.tokens > -float64(o.Burst) {
		b.tokens--
	}
}

// CancelReservation gives back what Reserve took, for a handshake that isn't sent.
func (b *Bucket) CancelReservation() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens++ // the next refill limits it
	b.limiter.loop.Nudge()
}

// Observe records how a handshake went that had a token: how long the backend
// took to answer, and whether it did.
func (b *Bucket) Observe(took time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.limiter.clock.Now()
	b.refill(b.limiter.options.Load(), now)
	b.adaptive.observe(now, took, ok)
}

// RateFactor is the part of its configured rate that the backend gets now, from
// 0 to 1.
func (b *Bucket) RateFactor() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.factor(b.limiter.options.Load(), b.limiter.clock.Now())
}

// bucketSize is how many handshakes of a burst are let through at once. The rest
// is for those that were released before and have been delayed, see inFlightFull:
// even so the backend must not see more than Rate and Burst in a second.
func (o *Options) bucketSize() int { return o.Burst - o.Burst/5 }

// refill adds the tokens of the time since it was last called. mu must be held.
func (b *Bucket) refill(o *Options, now time.Time) {
	part := b.factor(o, now)
	b.tokens += max(now.Sub(b.refilled), 0).Seconds() * o.Rate * part
	b.tokens = min(b.tokens, max(1, float64(o.bucketSize())*part))
	b.refilled = now
}

// untilToken is how long from now the next token comes; 0 if there is one.
func (b *Bucket) untilToken(o *Options, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(o, now)
	if b.tokens >= 1 || o.Rate <= 0 {
		return 0
	}
	return time.Duration((1 - b.tokens) / (o.Rate * b.factor(o, now)) * float64(time.Second))
}

// rampStart is the part of its rate that a backend starts with.
const rampStart = 0.1

func (b *Bucket) factor(o *Options, now time.Time) float64 {
	ramp := 1.0
	if risen := b.upSince(); o.Ramp > 0 && !risen.IsZero() {
		// upSince may be in the future, if an ejection ends then. If the
		// backend is used before, since few others are left, it gets its full
		// rate.
		if up := now.Sub(risen); up >= 0 && up < o.Ramp {
			ramp = rampStart + (1-rampStart)*up.Seconds()/o.Ramp.Seconds()
		}
	}
	return ramp * b.adaptive.factor(now)
}

package relay

import (
	"math"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// budget bounds what a session's client sends (Limits). It is plain data like a record,
// and beside it by slot: a session without such limits has none.
//
// Messages are counted by the walker, at their headers, and bytes when they have come.
// With throttle, a client that has used up either isn't read until one is left again, so
// that TCP makes it wait and nothing is kept for it. What a read has more than is left
// becomes a debt; so reads are small (allowance).
type budget struct {
	quota    frame.Quota
	messages bucket
	bytes    bucket
	at       eventloop.Tick // when the buckets were refilled
	until    eventloop.Tick // when a throttled client is read again
	closes   bool           // Limits.CloseOnExcess
}

// bucket has the tokens for what a second may have; as many may be used at once.
type bucket struct {
	left int64 // in billionths of a token; below 0 is a debt
	rate int64 // tokens a second; 0 is no bound
}

// token in the unit of bucket.left. A token a second is then one unit a nanosecond, and
// all arithmetic is exact.
const token = int64(time.Second)

// MaxRate is the highest of Limits.MessagesPerSecond and BytesPerSecond.
const MaxRate = 1 << 30

func newBucket(rate int) bucket {
	n := int64(min(max(rate, 0), MaxRate))
	return bucket{left: n * token, rate: n}
}

func (b *bucket) refill(d time.Duration) {
	switch missing := b.rate*token - b.left; {
	case b.rate == 0:
	case int64(d) > missing/b.rate:
		b.left = b.rate * token
	default:
		b.left += int64(d) * b.rate
	}
}

// whole is how many tokens are left; below 0 is a debt.
func (b *bucket) whole() int64 {
	if b.rate == 0 {
		return math.MaxInt64
	}
	return b.left / token
}

func (b *bucket) use(n int64) {
	if b.rate != 0 {
		b.left -= n * token
	}
}

// empty reports that not one token is left.
func (b *bucket) empty() bool { return b.rate != 0 && b.left < token }

// wait is how long it takes until a token is left.
func (b *bucket) wait() time.Duration {
	if !b.empty() {
		return 0
	}
	return time.Duration((token - b.left + b.rate - 1) / b.rate)
}

// limits are those that apply to the session. One of opaque bytes has no messages, and
// nobody knows how long its sides may pause.
func (s *Start) limits() Limits {
	l := s.Limits
	if s.Opaque {
		l.MaxMessage, l.MessagesPerSecond, l.SlowConsumer = 0, 0, 0
	}
	return l
}

// marks of a session with these Limits.
func (l *Limits) marks() (m marks) {
	if l.MaxMessage > 0 || l.MessagesPerSecond > 0 {
		m |= isLimited
	}
	if l.BytesPerSecond > 0 {
		m |= isLimited | countsBytes
	}
	return m
}

func newBudget(l Limits, now eventloop.Tick) budget {
	return budget{
		quota:    frame.Quota{MaxMessage: uint64(max(0, l.MaxMessage)), Stops: l.CloseOnExcess},
		messages: newBucket(l.MessagesPerSecond), bytes: newBucket(l.BytesPerSecond),
		at: now, closes: l.CloseOnExcess,
	}
}

// paces reports whether the client may have to wait.
func (b *budget) paces() bool { return !b.closes && (b.messages.rate != 0 || b.bytes.rate != 0) }

func (b *budget) refill(now eventloop.Tick) {
	d := (now - b.at).Duration()
	b.at = now
	b.messages.refill(d)
	b.bytes.refill(d)
}

// begin returns the quota for what is to be walked now. end must follow.
func (b *budget) begin(now eventloop.Tick) *frame.Quota {
	b.refill(now)
	b.quota.Left = b.messages.whole()
	b.quota.Spent = b.closes && b.bytes.empty()
	return &b.quota
}

// end takes the tokens for what was walked since begin, which had so many bytes.
func (b *budget) end(bytes int64) {
	b.messages.use(b.messages.whole() - b.quota.Left)
	b.bytes.use(bytes)
}

// overdrawn reports that the client must be cut off even in the middle of a frame: after
// the bytes of one second, it has sent those of another one.
func (b *budget) overdrawn() bool { return b.bytes.rate != 0 && b.bytes.left < -b.bytes.rate*token }

// wait is how long a client whose stream stands where w does must wait. The rest of a
// message that has begun needs no other message.
func (b *budget) wait(w *frame.Walker) time.Duration {
	wait := b.bytes.wait()
	if w.Payload() == 0 {
		wait = max(wait, b.messages.wait())
	}
	return wait
}

const (
	// A read for which there are tokens for n messages is of n times usualMessage
	// bytes, between smallRead and pacedRead, unless it is payload of a frame that has
	// begun: so a client pays for what it sends little by little.
	usualMessage = 128
	smallRead    = 256
	pacedRead    = 4 << 10
)

// allowance is how many bytes of a client may be read at once, at most most. Its stream
// stands where w does.
func (b *budget) allowance(w *frame.Walker, most int, now eventloop.Tick) int {
	if b.closes {
		if b.bytes.rate != 0 {
			b.refill(now)
			most = int(min(max(b.bytes.whole(), pacedRead), int64(most)))
		}
		return most
	}
	if !b.paces() {
		return most
	}
	b.refill(now)
	if b.messages.rate != 0 {
		n := min(max(b.messages.whole(), 0)*usualMessage, pacedRead)
		most = int(min(max(uint64(max(n, smallRead)), w.Payload()), uint64(most)))
	}
	if b.bytes.rate != 0 {
		most = int(min(max(b.bytes.whole(), 1), int64(most)))
	}
	return most
}

// Package ratelimit bounds how fast each backend of a pool gets handshakes, and
// keeps those that come faster in a queue.
//
//	            a token                          its turn, and a token
//	handshake ───────────▶ backend      queue ─────────────────────────▶ backend
//	    │                                 │
//	    │ no token, or others wait        │ queue_timeout ──▶ 503
//	    ├─────────────────────────▶ queue │ the client goes ──▶ nothing
//	    │ queue or client's share full    │ the limiter is closed ──▶ starts again
//	    └─────────────────────────▶ 503
//
// There is a Limiter for each pool with `admit` in its configuration. The spine
// asks a backend's Bucket for a token before it chooses that backend (through
// balance.RateLimits), and calls Enqueue if there is none. Sessions that are
// moved to another backend don't queue: they reserve a token.
//
// The package doesn't choose backends or send anything, and doesn't limit plain
// HTTP requests. The number of sessions is bounded elsewhere: by upstream/pool
// for each backend, by stage/overload for the process.
package ratelimit

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/clock"
	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/wire/clientprefix"
)

// Options says how fast a pool's backends may get handshakes.
type Options struct {
	// Rate is handshakes per second for each backend, after its ramp. 0 means
	// unlimited: all pass, and those that wait are released.
	Rate float64
	// Burst is how many handshakes a backend may get at once. At least 1.
	Burst int
	// Queue is how many handshakes may wait in the pool, and QueueTimeout how
	// long each may.
	Queue        int
	QueueTimeout time.Duration
	// Ramp is how long a backend that has started takes to reach its full rate.
	Ramp time.Duration
}

// clientLimit is how many entries of the queue one client address may have.
// Clients behind one NAT should get in, but one address must not keep out all
// others.
func (o *Options) clientLimit() int { return max(16, o.Queue/8) }

// Errors of Enqueue.
var (
	ErrQueueFull   = failure.New(failure.QueueFull, "the queue of the pool is full")
	ErrAddressFull = failure.New(failure.QueueAddressFull, "too many handshakes of one address wait for the pool")
	ErrClosed      = failure.New(failure.Stopping, "the queue is closed")
)

// Hooks are the Limiter's dependencies. Each may be nil.
type Hooks struct {
	// Begin is called when a handshake starts to wait in an empty queue, and
	// End when the last has left it. They must not block.
	Begin, End func()
	// Clock is the source of time; nil means the system's.
	Clock clock.Clock
}

// Limiter has the buckets of a pool's backends and the pool's queue. It outlives
// reloads. Its methods are safe for concurrent use and don't block.
type Limiter struct {
	hooks         Hooks
	clock         clock.Clock
	loop          clock.Loop // calls step; runs while somebody waits
	options       atomic.Pointer[Options]
	start         time.Time
	queued        atomic.Uint64 // all that ever waited
	waitingForAny atomic.Int32  // how many wait for any backend

	// mu is held while Handshake.TryStart runs. It guards the following.
	mu            sync.Mutex
	buckets       map[uint32]*Bucket
	queue         queue
	running       bool // loop is
	closed        bool
	notifications []notification // used by step only
}

// New makes a Limiter without a limit; Configure sets one.
func New(h Hooks) *Limiter {
	if h.Begin == nil {
		h.Begin, h.End = func() {}, func() {}
	}
	p := &Limiter{hooks: h, clock: clock.Or(h.Clock), buckets: map[uint32]*Bucket{}}
	p.start, p.loop = p.clock.Now(), p.clock.Loop(p.step)
	p.queue.init()
	p.options.Store(&Options{})
	return p
}

// Configure replaces the options. Handshakes that wait keep their deadlines.
func (p *Limiter) Configure(o Options) {
	o.Burst = max(o.Burst, 1)
	p.options.Store(&o)
	p.nudge()
}

// Close releases all that wait without a token. No more can be enqueued.
func (p *Limiter) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.nudge()
}

// Bucket returns the bucket of the backend with that ID, and makes it at the
// first call. upSince returns when the backend last started, or zero if that is
// unknown; nil means that it always is.
func (p *Limiter) Bucket(id uint32, risen func() time.Time) *Bucket {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.buckets[id]
	if b == nil {
		b = newBucket(p, risen)
		p.buckets[id] = b
		if p.running {
			p.loop.Nudge()
		}
	}
	return b
}

// Forget drops the bucket of a backend that is gone. TryStart is called at once
// for the handshakes that wait for that backend.
func (p *Limiter) Forget(id uint32) {
	p.mu.Lock()
	delete(p.buckets, id)
	if l := p.queue.backends[id]; l != nil && l.bucket != nil {
		l.bucket.waiting.Store(0)
		l.bucket = nil
	}
	p.mu.Unlock()
	p.nudge()
}

// Handshake is one that may have to wait. The Limiter calls its methods on a
// goroutine of its own; they must not block.
type Handshake interface {
	// TryStart tries to take a backend, with a token from
	// Bucket.TryTake(true). It reports true if it has taken one, or if that
	// has become impossible, so that the handshake should leave the queue. It
	// must not call the Limiter.
	TryStart() bool
	// Start is called after TryStart was true, or when the Limiter is closed.
	Start()
	// TimedOut is called when QueueTimeout is over.
	TimedOut()
}

// EntryOptions says where in the queue a handshake belongs.
type EntryOptions struct {
	Client netip.Addr
	// Backend is the ID of the only backend that will do; 0 means any.
	Backend uint32
	// Since is when it began to wait, if it has waited before. Then it goes in
	// front of its client's others, and its timeout counts from Since.
	Since time.Time
}

// Enqueue adds h to the queue. Then exactly one of Start and TimedOut is called,
// once, unless Entry.Leave removes it before. The error is ErrQueueFull,
// ErrAddressFull or ErrClosed. Client addresses take turns; the handshakes of one
// address keep their order.
func (p *Limiter) Enqueue(at EntryOptions, h Handshake) (*Entry, error) {
	client, again := clientprefix.Of(at.Client), !at.Since.IsZero()
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.options.Load()
	switch {
	case p.closed:
		return nil, ErrClosed
	case again:
		// It was in the queue a moment ago.
	case p.queue.waiting >= o.Queue:
		return nil, ErrQueueFull
	case p.queue.byClient[client] >= o.clientLimit():
		return nil, ErrAddressFull
	default:
		at.Since = p.clock.Now()
		p.queued.Add(1)
	}
	w := &Entry{limiter: p, handshake: h, deadline: at.Since.Add(o.QueueTimeout).Sub(p.start)}
	p.queue.add(w, client, at.Backend, p.buckets[at.Backend], again)
	p.waitingForAny.Store(int32(p.queue.waitingForAny()))
	switch {
	case !p.running:
		p.running = true
		p.hooks.Begin()
		p.loop.Start()
	case p.queue.deadlines.first == w:
		p.loop.Nudge()
	}
	return w, nil
}

// Waiting is how many handshakes wait now.
func (p *Limiter) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue.waiting
}

// Queued is how many handshakes have ever had to wait.
func (p *Limiter) Queued() uint64 { return p.queued.Load() }

// RetryAfter is how long a client that is turned away should wait. It is random,
// so that clients that were turned away together don't come back together.
func (p *Limiter) RetryAfter() time.Duration {
	d := p.options.Load().QueueTimeout
	return min(max(d/2+time.Duration(rand.Float64()*float64(d)), time.Second), time.Minute)
}

// Leave removes the handshake from the queue. It reports false if Start or
// TimedOut has been called or is about to be.
func (w *Entry) Leave() bool {
	p := w.limiter
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.queue == nil {
		return false
	}
	p.remove(w, false)
	if p.queue.waiting == 0 {
		p.loop.Nudge() // step has nothing left to wait for
	}
	return true
}

// remove removes w from the queue. mu must be held.
func (p *Limiter) remove(w *Entry, served bool) {
	p.queue.remove(w, served)
	p.waitingForAny.Store(int32(p.queue.waitingForAny()))
}

// nudge makes the loop look at what has changed.
func (p *Limiter) nudge() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		p.loop.Nudge()
	}
}

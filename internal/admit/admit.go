// Package admit bounds how fast backends get handshakes, and has those that
// come faster wait in a queue.
//
//	            a token                          its turn, and a token
//	handshake ───────────▶ backend      queue ─────────────────────────▶ backend
//	    │                                 │
//	    │ none, or others wait            │ queue_timeout ──▶ 503
//	    ├─────────────────────────▶ queue │ the client goes ──▶ nothing
//	    │ queue or address's part full    │ the pool is closed ──▶ begins anew
//	    └─────────────────────────▶ 503
package admit

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/clock"
)

// Options are how fast a pool's backends may be given handshakes.
type Options struct {
	// Rate is handshakes a second for each backend, once its ramp is over. 0
	// is no bound: all pass, and who waits is let through.
	Rate float64
	// Burst is how many of them a backend may get at once. At least 1.
	Burst int
	// Queue is how many may wait in the pool, and QueueTimeout how long.
	Queue        int
	QueueTimeout time.Duration
	// Ramp is how long a backend that has started takes to its full rate.
	Ramp time.Duration
}

// placesOfOne is how many of the queue's places one address may have: clients
// behind one NAT are to get in, and one of them isn't to keep all others out.
func (o *Options) placesOfOne() int { return max(16, o.Queue/8) }

// Errors of Enqueue.
const (
	ErrQueueFull   = full("the queue of the pool is full")
	ErrAddressFull = full("too many handshakes of one address wait for the pool")
	ErrClosed      = full("the queue is closed")
)

type full string

func (e full) Error() string { return string(e) }

// Hooks are what a Pool needs from outside. Each may be nil.
type Hooks struct {
	// Begin and End are called around the time in which somebody waits. They
	// must not block.
	Begin, End func()
	// Clock is what goes for time; nil means the system's.
	Clock clock.Clock
}

// Pool is the buckets of a pool's backends, and its queue. It outlives
// reloads. Its methods may be called from anywhere and don't block.
type Pool struct {
	hooks   Hooks
	clock   clock.Clock
	loop    clock.Loop // of turn; it runs while somebody waits
	options atomic.Pointer[Options]
	began   time.Time
	queued  atomic.Uint64 // all that ever waited
	forAny  atomic.Int32  // how many wait for whichever backend

	// mu is held while Handshake.Take runs. It guards the following.
	mu      sync.Mutex
	buckets map[uint32]*Bucket
	queue   queue
	running bool // loop is
	closed  bool
	calls   []call // turn's own
}

// New makes a Pool without a bound; Configure sets one.
func New(h Hooks) *Pool {
	if h.Begin == nil {
		h.Begin, h.End = func() {}, func() {}
	}
	p := &Pool{hooks: h, clock: clock.Or(h.Clock), buckets: map[uint32]*Bucket{}}
	p.began, p.loop = p.clock.Now(), p.clock.Loop(p.turn)
	p.queue.init()
	p.options.Store(&Options{})
	return p
}

// Configure sets other options. Those who wait keep the time they were given.
func (p *Pool) Configure(o Options) {
	o.Burst = max(o.Burst, 1)
	p.options.Store(&o)
	p.stir()
}

// Close lets all who wait go on as they are, and nobody wait any more.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stir()
}

// Backend is the bucket of the backend with that number, made when it is first
// asked for. risen tells when it last started, if that is known; nil is never.
func (p *Pool) Backend(id uint32, risen func() time.Time) *Bucket {
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

// Forget drops the bucket of a backend that is gone. Who waits for it is asked
// to take it at once, see Handshake.
func (p *Pool) Forget(id uint32) {
	p.mu.Lock()
	delete(p.buckets, id)
	if l := p.queue.lines[id]; l != nil && l.bucket != nil {
		l.bucket.waiting.Store(0)
		l.bucket = nil
	}
	p.mu.Unlock()
	p.stir()
}

// Handshake is one that may have to wait. Its methods are called on a
// goroutine of the Pool's own and must not block.
type Handshake interface {
	// Take tries to take a backend that has a token, by Bucket.TryPass for
	// one that is queued, and reports whether that is done, or can't be done
	// any more. It must not call the Pool.
	Take() bool
	// Release tells that Take was true, or the Pool closed.
	Release()
	// Timeout tells that the time to wait is over.
	Timeout()
}

// Place says where in the queue a handshake belongs.
type Place struct {
	Client netip.Addr
	// Want is the backend that it waits for, if only one will do.
	Want uint32
	// Since is when it began to wait, where it has waited before: it goes in
	// front of its address's others, and its time counts from then.
	Since time.Time
}

// Enqueue has h wait until Release or Timeout is called, one of them and once,
// unless Leave comes before. The error is one of those above. Of the clients'
// addresses, each gets its turn; one address's handshakes come in their order.
func (p *Pool) Enqueue(at Place, h Handshake) (*Waiter, error) {
	client, again := party(at.Client), !at.Since.IsZero()
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.options.Load()
	switch {
	case p.closed:
		return nil, ErrClosed
	case again:
		// It had a place a moment ago.
	case p.queue.waiting >= o.Queue:
		return nil, ErrQueueFull
	case p.queue.places[client] >= o.placesOfOne():
		return nil, ErrAddressFull
	default:
		at.Since = p.clock.Now()
		p.queued.Add(1)
	}
	w := &Waiter{pool: p, handshake: h, deadline: at.Since.Add(o.QueueTimeout).Sub(p.began)}
	p.queue.add(w, client, at.Want, p.buckets[at.Want], again)
	p.forAny.Store(int32(p.queue.forAny()))
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

// party is who shares the places of one address: an IPv6 network of 64 bits is
// commonly one customer's.
func party(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// Waiting is how many wait now.
func (p *Pool) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue.waiting
}

// Queued is how many have ever had to wait.
func (p *Pool) Queued() uint64 { return p.queued.Load() }

// RetryAfter is when a client that is turned away may come back: by chance, or
// all that were turned away together would come back together.
func (p *Pool) RetryAfter() time.Duration {
	d := p.options.Load().QueueTimeout
	return min(max(d/2+time.Duration(rand.Float64()*float64(d)), time.Second), time.Minute)
}

// Leave takes the handshake out of the queue and reports true, or reports
// false where Release or Timeout has been called or is about to be.
func (w *Waiter) Leave() bool {
	p := w.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.lane == nil {
		return false
	}
	p.remove(w, false)
	if p.queue.waiting == 0 {
		p.loop.Nudge() // turn has nothing to wait for
	}
	return true
}

// remove is called under mu.
func (p *Pool) remove(w *Waiter, served bool) {
	p.queue.remove(w, served)
	p.forAny.Store(int32(p.queue.forAny()))
}

// stir has what changed taken notice of.
func (p *Pool) stir() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		p.loop.Nudge()
	}
}

package bench

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/bench/histogram"
)

// window is a time in which a group is loaded.
type window struct {
	number uint32
	start  time.Time
	asked  float64       // messages (churn: connections) a second; 0: as fast as it goes
	took   time.Duration // while load was given
	cpu    time.Duration // of this process, until all was answered
	wall   time.Duration // the same

	handshake histogram.Histogram // churn
	latency   histogram.Histogram
	late      histogram.Histogram // how long after it was due each was sent

	sent     atomic.Int64 // messages (churn: connections begun); in a fan-out each counts once
	unsent   atomic.Int64 // due on sessions that had ended
	received atomic.Int64 // in a fan-out every copy
	lost     int64
}

// lateLimit is when a message counts as sent late: far beyond what the clock
// and a switch of threads take.
const lateLimit = 5 * time.Millisecond

func (g *group) begin(asked float64) *window {
	g.windows++
	return &window{number: g.windows, asked: asked}
}

// measure runs load and keeps the time and CPU it took.
func (w *window) measure(load func()) {
	cpu := processCPU()
	w.start = time.Now()
	load()
	w.wall, w.cpu = time.Since(w.start), processCPU()-cpu
}

// exchange sends messages for d at rate, in turn from each sender, and waits
// for what must come of them. tooMany, where it is above 0, ends it early when
// so many answers are outstanding.
func (g *group) exchange(ctx context.Context, senders []*session, rate float64, d time.Duration, tooMany int64) *window {
	w := g.begin(rate)
	from := 1
	if g.o.Mode == Fanout {
		from = len(senders)
	}
	for _, s := range g.sessions {
		s.enter(w, from)
	}
	sending, stop := context.WithCancel(ctx)
	defer stop()
	g.now.Store(w)
	w.measure(func() {
		precisely(func(p pacer) {
			p.run(sending, w.start, rate, int(rate*d.Seconds()+0.5), func(k int, due time.Time) {
				senders[k%len(senders)].send(w, due)
				if tooMany > 0 && w.sent.Load()-w.received.Load() > tooMany {
					stop()
				}
			})
			w.took = time.Since(w.start)
		})
		if sending.Err() == nil { // the last message's own interval belongs to it
			w.took = max(w.took, d)
		}
		g.drain(ctx, w, senders)
	})
	return w
}

const drainPoll = 2 * time.Millisecond

// drain waits for what is outstanding, and counts as lost what doesn't come.
func (g *group) drain(ctx context.Context, w *window, senders []*session) {
	wait := g.o.Timeout
	if ctx.Err() != nil {
		wait = min(wait, time.Second) // somebody wants to see the report
	}
	sent := make([]uint32, len(senders))
	for i, s := range senders {
		sent[i] = s.count()
	}
	for end := time.Now().Add(wait); g.coming(sent) && time.Now().Before(end); {
		time.Sleep(drainPoll)
	}
	for _, s := range g.sessions {
		n := s.leave(sent)
		w.lost += int64(n)
		g.failures.add(kindLost, n, "session %d: %d messages had not come %v after the last was sent", s.id, n, wait)
	}
}

// coming tells whether a session that is alive still misses messages.
func (g *group) coming(sent []uint32) bool {
	for _, s := range g.sessions {
		if n, live := s.outstanding(sent); n > 0 && live {
			return true
		}
	}
	return false
}

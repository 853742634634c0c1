package bench

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/histogram"
)

// window is a period in which a group is loaded.
type window struct {
	number uint32
	start  time.Time
	asked  float64       // messages per second; in churn, connections per second; 0 for as fast as possible
	took   time.Duration // how long load was generated
	cpu    time.Duration // CPU time of this process until all answers had arrived
	wall   time.Duration // time until all answers had arrived

	handshake histogram.Histogram // only in churn
	latency   histogram.Histogram
	late      histogram.Histogram // delay of sending after the due time

	sent     atomic.Int64 // messages; in churn, started connections; in fanout each message counts once
	unsent   atomic.Int64 // due on sessions that had already ended
	received atomic.Int64 // in fanout each copy counts
	lost     int64
}

// lateLimit is the delay from which a message counts as sent late. It is much longer
// than the precision of the clock and a thread switch.
const lateLimit = 5 * time.Millisecond

func (g *group) newWindow(asked float64) *window {
	g.windows++
	return &window{number: g.windows, asked: asked}
}

// measure runs load and records its duration and CPU time.
func (w *window) measure(load func()) {
	cpu := processCPU()
	w.start = time.Now()
	load()
	w.wall, w.cpu = time.Since(w.start), processCPU()-cpu
}

// exchange sends messages for d at the given rate, from each sender in turn, and
// waits for the answers. If maxOutstanding is positive, exchange ends early when more
// answers are outstanding.
func (g *group) exchange(ctx context.Context, senders []*session, rate float64, d time.Duration, maxOutstanding int64) *window {
	w := g.newWindow(rate)
	from := 1
	if g.o.Mode == Fanout {
		from = len(senders)
	}
	for _, s := range g.sessions {
		s.joinWindow(w, from)
	}
	sending, stop := context.WithCancel(ctx)
	defer stop()
	g.current.Store(w)
	w.measure(func() {
		withPrecisePacer(func(p pacer) {
			p.run(sending, w.start, rate, int(rate*d.Seconds()+0.5), func(k int, due time.Time) {
				senders[k%len(senders)].send(w, due)
				if maxOutstanding > 0 && w.sent.Load()-w.received.Load() > maxOutstanding {
					stop()
				}
			})
			w.took = time.Since(w.start)
		})
		if sending.Err() == nil { // include the interval of the last message
			w.took = max(w.took, d)
		}
		g.drain(ctx, w, senders)
	})
	return w
}

const drainPoll = 2 * time.Millisecond

// drain waits for outstanding messages and counts as lost those that don't arrive.
func (g *group) drain(ctx context.Context, w *window, senders []*session) {
	wait := g.o.Timeout
	if ctx.Err() != nil {
		wait = min(wait, time.Second) // the user is waiting for the report
	}
	sent := make([]uint32, len(senders))
	for i, s := range senders {
		sent[i] = s.sentCount()
	}
	for end := time.Now().Add(wait); g.anyOutstanding(sent) && time.Now().Before(end); {
		time.Sleep(drainPoll)
	}
	for _, s := range g.sessions {
		n := s.leaveWindow(sent)
		w.lost += int64(n)
		g.failures.add(kindLost, n, "session %d: %d messages had not arrived %v after the last was sent", s.id, n, wait)
	}
}

// anyOutstanding reports whether a live session still misses messages.
func (g *group) anyOutstanding(sent []uint32) bool {
	for _, s := range g.sessions {
		if n, live := s.outstanding(sent); n > 0 && live {
			return true
		}
	}
	return false
}

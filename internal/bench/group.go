package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/bench/histogram"
	"github.com/holdfast-ws/holdfast/internal/bench/wsconn"
)

// group is the sessions of one target, and what is known of them.
type group struct {
	name    string
	urls    []string
	dialers []*wsconn.Dialer // of urls; sessions take them in turn
	o       *Options
	code    codec
	epoch   time.Time // that the times in messages count from

	mu       sync.Mutex // of sessions, while they are opened
	sessions []*session

	windows uint32
	now     atomic.Pointer[window] // for the progress
	past    []*window

	handshake histogram.Histogram
	closing   histogram.Histogram
	failures  failures
	opened    atomic.Int64
	dropped   atomic.Int64
	unasked   atomic.Int64 // messages while none was under way
}

func (o *Options) newGroup(ctx context.Context, name string, epoch time.Time, urls ...string) (*group, error) {
	g := &group{name: name, urls: urls, o: o, code: newCodec(o.Size, o.Text), epoch: epoch}
	for _, u := range urls {
		d, err := wsconn.NewDialer(ctx, u, o.Header, o.Subprotocols)
		if err != nil {
			return nil, err
		}
		o.prepare(d)
		g.dialers = append(g.dialers, d)
	}
	return g, nil
}

// dial opens connection n; the handshake counts from due.
func (g *group) dial(ctx context.Context, n int, due time.Time) *wsconn.Conn {
	conn, err := g.dialers[n%len(g.dialers)].Dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			g.failures.add(dialKind(err), 1, "session %d: %v", n, err)
		}
		return nil
	}
	g.handshake.Record(time.Since(due))
	g.opened.Add(1)
	return conn
}

// openAll opens the sessions of all groups in turn, each group's at the rate
// of Options.Ramp.
func openAll(ctx context.Context, groups []*group) {
	o := groups[0].o
	var opening sync.WaitGroup
	precisely(func(p pacer) {
		p.run(ctx, time.Now(), o.Ramp*float64(len(groups)), o.Sessions*len(groups), func(k int, due time.Time) {
			opening.Go(func() { groups[k%len(groups)].openOne(ctx, k/len(groups), due) })
		})
	})
	opening.Wait()
	for _, g := range groups {
		for i, s := range g.sessions {
			s.number(uint32(i))
		}
	}
}

func (g *group) openOne(ctx context.Context, n int, due time.Time) {
	conn := g.dial(ctx, n, due)
	if conn == nil {
		return
	}
	s := &session{group: g, id: uint32(n), server: n % len(g.dialers), conn: conn, done: make(chan struct{})}
	g.mu.Lock()
	g.sessions = append(g.sessions, s)
	g.mu.Unlock()
	go s.run()
}

// closeAll closes all sessions politely, at the rate they were opened with, or
// within a second when the run was interrupted.
func closeAll(ctx context.Context, groups []*group) {
	for _, g := range groups {
		rate := g.o.Ramp
		if ctx.Err() != nil {
			rate = max(rate, float64(len(g.sessions)))
		}
		pacer{sleep: time.Sleep}.run(context.WithoutCancel(ctx), time.Now(), rate, len(g.sessions), func(k int, _ time.Time) {
			g.sessions[k].close()
		})
	}
	for _, g := range groups {
		for _, s := range g.sessions {
			<-s.done
		}
	}
}

package bench

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/histogram"
	"github.com/holdfast-ws/holdfast/internal/tool/bench/wsconn"
)

// group has the sessions of one target and their results.
type group struct {
	name    string
	urls    []string
	dialers []*wsconn.Dialer // one for each URL; sessions use them in turn
	o       *Options
	code    codec
	epoch   time.Time // messages contain times relative to it

	mu       sync.Mutex // guards sessions while they are opened
	sessions []*session

	windows  uint32
	current  atomic.Pointer[window] // for the progress output
	finished []*window

	handshake   histogram.Histogram
	closing     histogram.Histogram
	failures    failures
	opened      atomic.Int64
	dropped     atomic.Int64
	unsolicited atomic.Int64                            // messages received outside of a window
	tls         [2]struct{ full, resumed atomic.Int64 } // handshakes of TLS 1.2 and older, and of TLS 1.3
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

// dial opens connection n. The handshake is measured from due.
func (g *group) dial(ctx context.Context, n int, due time.Time) *wsconn.Conn {
	conn, err := g.dialers[n%len(g.dialers)].Dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			g.failures.add(dialKind(err), 1, "session %d: %v%s", n, err, tlsAdvice(err))
		}
		return nil
	}
	g.handshake.Record(time.Since(due))
	g.opened.Add(1)
	if state := conn.TLS(); state != nil {
		of := &g.tls[0]
		if state.Version >= tls.VersionTLS13 {
			of = &g.tls[1]
		}
		if state.DidResume {
			of.resumed.Add(1)
		} else {
			of.full.Add(1)
		}
	}
	return conn
}

// openAll opens the sessions of all groups in turn, those of each group at the rate
// Options.Ramp.
func openAll(ctx context.Context, groups []*group) {
	o := groups[0].o
	var opening sync.WaitGroup
	withPrecisePacer(func(p pacer) {
		p.run(ctx, time.Now(), o.Ramp*float64(len(groups)), o.Sessions*len(groups), func(k int, due time.Time) {
			opening.Go(func() { groups[k%len(groups)].openOne(ctx, k/len(groups), due) })
		})
	})
	opening.Wait()
	for _, g := range groups {
		for i, s := range g.sessions {
			s.setID(uint32(i))
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

// closeAll closes all sessions with a closing handshake, at the rate at which they
// were opened, or within a second if the run was interrupted.
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

package bench

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/bench/wsconn"
)

const kindTooManyOpen = "too_many_open"

// churn opens connections for d, at rate or, where that is 0, Options.Parallel
// at a time. Each sends one message, awaits it and closes.
func (g *group) churn(ctx context.Context, rate float64, d time.Duration) *window {
	w := g.begin(rate)
	g.now.Store(w)
	var running sync.WaitGroup
	w.measure(func() {
		if rate > 0 {
			g.churnAtRate(ctx, w, d, &running)
		} else {
			var n atomic.Int64
			for range g.o.Parallel {
				running.Go(func() {
					for ctx.Err() == nil && time.Since(w.start) < d {
						g.visit(ctx, w, int(n.Add(1)-1), time.Now())
					}
				})
			}
			running.Wait()
		}
		w.took = time.Since(w.start)
		running.Wait()
	})
	return w
}

func (g *group) churnAtRate(ctx context.Context, w *window, d time.Duration, running *sync.WaitGroup) {
	var open atomic.Int64
	precisely(func(p pacer) {
		p.run(ctx, w.start, w.asked, int(w.asked*d.Seconds()+0.5), func(k int, due time.Time) {
			if open.Load() >= int64(g.o.Sessions) {
				w.unsent.Add(1)
				g.failures.add(kindTooManyOpen, 1, "connection %d was due while %d (--sessions) were open", k, g.o.Sessions)
				return
			}
			open.Add(1)
			running.Go(func() {
				defer open.Add(-1)
				g.visit(ctx, w, k, due)
			})
		})
	})
}

// visitor is one connection of a churn.
type visitor struct {
	group  *group
	window *window
	conn   *wsconn.Conn
	n      int
	sent   time.Time
	closed time.Time // when Close was sent: the message is back
}

func (g *group) visit(ctx context.Context, w *window, n int, due time.Time) {
	w.late.Record(time.Since(due))
	w.sent.Add(1)
	conn := g.dial(ctx, n, due)
	if conn == nil {
		return
	}
	w.handshake.Record(time.Since(due))
	v := &visitor{group: g, window: w, conn: conn, n: n, sent: time.Now()}
	m := message{window: w.number, sender: uint32(n), due: v.sent.Sub(g.epoch)}
	_ = conn.SetReadDeadline(v.sent.Add(g.o.Timeout))
	b := messages.Get().(*[]byte)
	*b = g.code.append((*b)[:0], m)
	_ = conn.Send(g.code.op(), *b) // where it fails, Serve does too
	messages.Put(b)
	v.end(conn.Serve(v))
}

// Message is wsconn.Handler's.
func (v *visitor) Message(op byte, payload []byte, at time.Time) {
	g := v.group
	m, ok := g.code.parse(op, payload)
	switch {
	case !ok && len(payload) == g.o.Size:
		g.failures.add(kindCorrupt, 1, "connection %d: %.60q is not what was sent", v.n, payload)
		return
	case !ok && v.closed.IsZero():
		g.unasked.Add(1) // a greeting
		return
	case !ok || m.window != v.window.number || m.sender != uint32(v.n):
		g.failures.add(kindMisdelivered, 1, "connection %d got %d bytes that are not for it", v.n, len(payload))
		return
	case !v.closed.IsZero():
		g.failures.add(kindDuplicate, 1, "connection %d: its message came again", v.n)
		return
	}
	v.window.received.Add(1)
	v.window.latency.Record(at.Sub(v.sent))
	v.closed = time.Now()
	_ = v.conn.SetReadDeadline(v.closed.Add(g.o.Timeout))
	_ = v.conn.SendClose(1000, "")
}

func (v *visitor) end(err error) {
	g := v.group
	var closed *wsconn.CloseError
	switch {
	case v.closed.IsZero() && errors.Is(err, os.ErrDeadlineExceeded):
		g.failures.add(kindLost, 1, "connection %d: its message had not come back after %v", v.n, g.o.Timeout)
	case v.closed.IsZero():
		g.failures.add(endKind(err), 1, "connection %d, before its message came back: %s", v.n, endText(err))
	case errors.As(err, &closed):
		g.closing.Record(time.Since(v.closed))
	case errors.Is(err, os.ErrDeadlineExceeded):
		g.failures.add(kindCloseTimeout, 1, "connection %d: no answer to Close 1000 within %v", v.n, g.o.Timeout)
	default:
		g.failures.add(endKind(err), 1, "connection %d, instead of an answer to Close 1000: %s", v.n, endText(err))
	}
}

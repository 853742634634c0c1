package bench

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/wsconn"
)

const kindTooManyOpen = "too_many_open"

// churn opens connections for d, at the given rate or if that is 0, with
// Options.Parallel at a time. Each sends one message, waits for its echo and closes.
func (g *group) churn(ctx context.Context, rate float64, d time.Duration) *window {
	w := g.newWindow(rate)
	g.current.Store(w)
	var running sync.WaitGroup
	w.measure(func() {
		if rate > 0 {
			g.churnAtRate(ctx, w, d, &running)
		} else {
			var n atomic.Int64
			for range g.o.Parallel {
				running.Go(func() {
					for ctx.Err() == nil && time.Since(w.start) < d {
						g.churnOne(ctx, w, int(n.Add(1)-1), time.Now())
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
	withPrecisePacer(func(p pacer) {
		p.run(ctx, w.start, w.asked, int(w.asked*d.Seconds()+0.5), func(k int, due time.Time) {
			if open.Load() >= int64(g.o.Sessions) {
				w.unsent.Add(1)
				g.failures.add(kindTooManyOpen, 1, "connection %d was due while %d (--sessions) were open", k, g.o.Sessions)
				return
			}
			open.Add(1)
			running.Go(func() {
				defer open.Add(-1)
				g.churnOne(ctx, w, k, due)
			})
		})
	})
}

// churnConn is a connection in churn mode.
type churnConn struct {
	group  *group
	window *window
	conn   *wsconn.Conn
	n      int
	sent   time.Time
	closed time.Time // when Close was sent, after the echo
}

func (g *group) churnOne(ctx context.Context, w *window, n int, due time.Time) {
	w.late.Record(time.Since(due))
	w.sent.Add(1)
	conn := g.dial(ctx, n, due)
	if conn == nil {
		return
	}
	w.handshake.Record(time.Since(due))
	v := &churnConn{group: g, window: w, conn: conn, n: n, sent: time.Now()}
	m := message{window: w.number, sender: uint32(n), due: v.sent.Sub(g.epoch)}
	_ = conn.SetReadDeadline(v.sent.Add(g.o.Timeout))
	b := messages.Get().(*[]byte)
	*b = g.code.append((*b)[:0], m)
	_ = conn.Send(g.code.op(), *b) // if this fails, Serve does too
	messages.Put(b)
	v.end(conn.Serve(v))
}

// Message implements wsconn.Handler.
func (v *churnConn) Message(op byte, payload []byte, at time.Time) {
	g := v.group
	m, ok := g.code.parse(op, payload)
	switch {
	case !ok && len(payload) == g.o.Size:
		g.failures.add(kindCorrupt, 1, "connection %d received something else than it sent: %.60q", v.n, payload)
		return
	case !ok && v.closed.IsZero():
		g.unsolicited.Add(1) // a greeting
		return
	case !ok || m.window != v.window.number || m.sender != uint32(v.n):
		g.failures.add(kindMisdelivered, 1, "connection %d received %d bytes meant for another", v.n, len(payload))
		return
	case !v.closed.IsZero():
		g.failures.add(kindDuplicate, 1, "connection %d received its message twice", v.n)
		return
	}
	v.window.received.Add(1)
	v.window.latency.Record(at.Sub(v.sent))
	v.closed = time.Now()
	_ = v.conn.SetReadDeadline(v.closed.Add(g.o.Timeout))
	_ = v.conn.SendClose(1000, "")
}

func (v *churnConn) end(err error) {
	g := v.group
	var closed *wsconn.CloseError
	switch {
	case v.closed.IsZero() && errors.Is(err, os.ErrDeadlineExceeded):
		g.failures.add(kindLost, 1, "connection %d: its message was not echoed within %v", v.n, g.o.Timeout)
	case v.closed.IsZero():
		g.failures.add(endKind(err), 1, "connection %d, before its message was echoed: %s", v.n, endText(err))
	case errors.As(err, &closed):
		g.closing.Record(time.Since(v.closed))
	case errors.Is(err, os.ErrDeadlineExceeded):
		g.failures.add(kindCloseTimeout, 1, "connection %d: no answer to Close 1000 within %v", v.n, g.o.Timeout)
	default:
		g.failures.add(endKind(err), 1, "connection %d, instead of an answer to Close 1000: %s", v.n, endText(err))
	}
}

package relay_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

func newOpaque(t *testing.T, e engine, times relay.Times, limits relay.Limits) *fixture {
	t.Helper()
	return newFixtureWith(t, e, times, &fixture{limits: limits, opaque: true})
}

// wantBytes reads exactly these bytes.
func (p *peer) wantBytes(want []byte) {
	p.t.Helper()
	came := make([]byte, len(want))
	if n, err := io.ReadFull(p.r, came); err != nil || !bytes.Equal(came, want) {
		p.t.Fatalf("to the %s came %d of %d bytes (%v), equal %v", p.side, n, len(want), err, bytes.Equal(came, want))
	}
}

// wantRest reads the stream's end, after exactly these bytes.
func (p *peer) wantRest(want []byte) {
	p.t.Helper()
	if came, err := io.ReadAll(p.r); err != nil || !bytes.Equal(came, want) {
		p.t.Fatalf("to the %s came %d of %d bytes (%v), equal %v", p.side, len(came), len(want), err, bytes.Equal(came, want))
	}
}

// wantOver reads until the connection ends in any way.
func (p *peer) wantOver() {
	p.t.Helper()
	if _, err := io.Copy(io.Discard, p.r); errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("the connection of the %s did not end", p.side)
	}
}

// testOpaqueMany: many sessions that send much at once take turns, and none is forgotten.
func testOpaqueMany(t *testing.T, e engine) {
	r := newOpaque(t, e, quick, relay.Limits{})
	const sessions, each = 24, 2 << 20 // far more than a loop passes on at once
	stream := noise(rand.New(rand.NewPCG(1, 2)), each)
	var work sync.WaitGroup
	for range sessions {
		p, q := r.open()
		for _, pair := range [2][2]*peer{{p, q}, {q, p}} {
			work.Go(func() { pair[0].send(stream); pair[0].CloseWrite() })
			work.Go(func() { pair[1].wantRest(stream) })
		}
	}
	work.Wait()
	r.until("all have ended", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.ended) == sessions
	})
}

// testOpaqueCuts: bytes that look like anything pass unchanged both ways, and the first
// end of a stream is the cause.
func testOpaqueCuts(t *testing.T, e engine) {
	for seed := range uint64(6) {
		for _, first := range sides {
			r := newOpaque(t, e, quick, relay.Limits{KeepaliveInterval: time.Millisecond, KeepaliveTimeout: time.Millisecond})
			p, q := r.both(first)
			rnd := rand.New(rand.NewPCG(seed, 1))
			streams := [2][]byte{noise(rnd, 1+rnd.IntN(1<<19)), noise(rnd, 1+rnd.IntN(1<<19))}
			var work sync.WaitGroup
			ended := make(chan struct{})
			for i, from := range []*peer{p, q} {
				cuts := rand.New(rand.NewPCG(seed, uint64(2+i)))
				scale := 1 + cuts.IntN(1<<(2*seed+2))
				work.Go(func() {
					from.sendCut(streams[i], cuts, scale)
					if i == 1 {
						<-ended
					}
					from.CloseWrite()
				})
			}
			work.Go(func() { q.wantRest(streams[0]); close(ended) })
			work.Go(func() { p.wantRest(streams[1]) })
			work.Wait()
			s := r.end(closed(first), 0)
			if s.From[first] != (session.Traffic{Bytes: uint64(len(streams[0]))}) || s.From[first.Other()] != (session.Traffic{Bytes: uint64(len(streams[1]))}) {
				t.Errorf("seed %d: counted %+v, want %d and %d bytes and no message", seed, s.From, len(streams[0]), len(streams[1]))
			}
		}
	}
}

// testOpaqueHalfClosed: one side ends its stream, and the other one goes on for longer
// than a closing session may. It can still be listed and closed.
func testOpaqueHalfClosed(t *testing.T, e engine) {
	times := relay.Times{Linger: 50 * time.Millisecond, Boundary: 50 * time.Millisecond}
	for _, first := range sides {
		r := newOpaque(t, e, times, relay.Limits{})
		r.engine.Tune(relay.Tuning{CloseTimeout: patience})
		p, q := r.both(first)
		p.send([]byte("question"))
		p.CloseWrite()
		q.wantRest([]byte("question"))
		for range 4 {
			p.quiet(times.Linger)
			q.send([]byte("answer"))
			p.wantBytes([]byte("answer"))
		}
		if s := r.onlySession(); s.Cause != session.None {
			t.Errorf("it is listed as closed: %+v", s)
		}
		q.CloseWrite()
		p.wantRest(nil)
		r.end(closed(first), 0)

		p, q = r.both(first)
		p.CloseWrite()
		q.wantRest(nil)
		r.request(shutdown, 1)
		p.wantRest(nil)
		q.CloseWrite()
		r.end(session.Shutdown, 0)
	}
}

// testOpaqueEarly: bytes that came before the session did.
func testOpaqueEarly(t *testing.T, e engine) {
	r := newFixtureWith(t, e, quick, &fixture{preface: 3, opaque: true})
	for _, early := range []int64{0, 1, 5} {
		r.early.Store(early)
		c, b := r.open()
		c.send([]byte("GETfrom the client"))
		b.send([]byte("101from the backend"))
		b.wantBytes([]byte("from the client"))
		c.wantBytes([]byte("from the backend"))
		c.CloseWrite()
		b.wantRest(nil)
		b.CloseWrite()
		c.wantRest(nil)
		r.end(session.ClientClosed, 0)
	}
}

// testOpaqueBehindMuch: the end of a stream follows everything that was sent before it,
// however slowly that is read.
func testOpaqueBehindMuch(t *testing.T, e engine) {
	for _, from := range sides {
		r := newOpaque(t, e, relay.Times{Linger: 150 * time.Millisecond}, relay.Limits{KeepaliveTimeout: patience})
		p, q := r.both(from)
		q.SetReadBuffer(32 << 10)
		stream := noise(rand.New(rand.NewPCG(1, 2)), 8<<20)
		q.CloseWrite() // now the session closes as soon as p has ended
		p.wantRest(nil)
		go func() {
			p.send(stream)
			p.CloseWrite()
		}()
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), 128<<10)
			q.wantBytes(rest[:n])
			rest = rest[n:]
			time.Sleep(5 * time.Millisecond)
		}
		q.wantRest(nil)
		r.end(closed(from.Other()), 0)
	}
}

// testOpaqueReset: the other side's stream ends. TLS says that it is complete only if the
// first one has ended properly.
func testOpaqueReset(t *testing.T, e engine) {
	for _, from := range sides {
		for want, leave := range map[session.Cause]func(*peer){
			lost(from):   (*peer).reset,
			closed(from): func(p *peer) { p.CloseWrite() },
		} {
			r := newOpaque(t, e, quick, relay.Limits{})
			p, q := r.both(from)
			p.send([]byte("last words"))
			q.wantBytes([]byte("last words"))
			leave(p)
			rest, err := io.ReadAll(q.TCPConn)
			if complete := len(rest) > 0; err != nil || complete != (r.tls[q.side] && want == closed(from)) {
				t.Errorf("%s: the %s got %x, %v", want, q.side, rest, err)
			}
			q.CloseWrite()
			r.end(want, 0)
		}
	}
}

// testOpaqueGone: a side that has ended its stream is gone altogether, while the other
// one has more to say.
func testOpaqueGone(t *testing.T, e engine) {
	for _, from := range sides {
		r := newOpaque(t, e, quick, relay.Limits{})
		p, q := r.both(from)
		p.CloseWrite()
		q.wantRest(nil)
		p.reset()
		for {
			if _, err := q.Write([]byte("is anybody there?")); err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if s := r.endAny(); s.Cause != lost(from) && s.Cause != closed(from) {
			t.Errorf("ended with %s", s.Cause)
		}
	}
}

// testOpaqueCloseAndGone: a side answers and closes while the other one still sends.
// What it has sent arrives.
func testOpaqueCloseAndGone(t *testing.T, e engine) {
	for _, from := range sides {
		r := newOpaque(t, e, quick, relay.Limits{})
		for range 10 {
			p, q := r.both(from)
			stop := make(chan struct{})
			go func() {
				defer close(stop)
				for range 300 {
					if _, err := q.Write([]byte("chatter")); err != nil {
						return
					}
				}
			}()
			p.send([]byte("enough of that"))
			p.TCPConn.Close()
			q.wantBytes([]byte("enough of that"))
			<-stop
			q.wantOver()
			q.TCPConn.Close()
			if s := r.endAny(); s.Cause != lost(from) && s.Cause != closed(from) {
				t.Errorf("ended with %s", s.Cause)
			}
		}
	}
}

// testOpaqueRequest: a request to close or move ends both streams, after what was sent
// before, and the sides may end theirs.
func testOpaqueRequest(t *testing.T, e engine) {
	drain := relay.MoveRequest{OrClose: &relay.Close{Cause: session.BackendDrained, Code: relay.CodeGoingAway, Reason: relay.GoingAway}}
	for want, request := range map[session.Cause]any{session.Shutdown: shutdown, session.BackendDrained: drain} {
		r := newOpaque(t, e, quick, relay.Limits{})
		r.engine.Tune(relay.Tuning{CloseTimeout: patience})
		c, b := r.open()
		c.send([]byte("to the backend"))
		b.send([]byte("to the client"))
		b.wantBytes([]byte("to the backend"))
		c.wantBytes([]byte("to the client"))
		r.request(request, 1)
		c.wantRest(nil)
		b.wantRest(nil)
		c.send([]byte("goes nowhere"))
		c.CloseWrite()
		b.CloseWrite()
		r.end(want, 0)
	}
}

// testOpaqueUnanswered: sides that don't end their streams are cut.
func testOpaqueUnanswered(t *testing.T, e engine) {
	r := newOpaque(t, e, quick, relay.Limits{})
	r.engine.Tune(relay.Tuning{CloseTimeout: 150 * time.Millisecond})
	c, b := r.open()
	r.request(shutdown, 1)
	c.wantRest(nil)
	b.wantRest(nil)
	b.send([]byte("goes nowhere"))
	r.end(session.Shutdown, 0)
	c.wantOver()
	b.wantOver()
}

// testOpaqueLimits: the idle time and the lifetime hold, and nothing is sent for
// keepalive.
func testOpaqueLimits(t *testing.T, e engine) {
	for _, tt := range []struct {
		limits relay.Limits
		want   session.Cause
	}{
		{relay.Limits{Idle: 300 * time.Millisecond}, session.IdleTimeout},
		{relay.Limits{Lifetime: 300 * time.Millisecond}, session.MaxLifetime},
	} {
		tt.limits.KeepaliveInterval, tt.limits.KeepaliveTimeout = 20*time.Millisecond, 20*time.Millisecond
		r := newOpaque(t, e, quick, tt.limits)
		c, b := r.open()
		c.wantRest(nil)
		b.wantRest(nil)
		c.CloseWrite()
		b.CloseWrite()
		r.end(tt.want, 0)
	}
}

// testOpaqueIdleHalfClosed: a half-closed session may be idle for as long as any other.
func testOpaqueIdleHalfClosed(t *testing.T, e engine) {
	r := newOpaque(t, e, quick, relay.Limits{Idle: 300 * time.Millisecond})
	c, b := r.open()
	c.CloseWrite()
	b.wantRest(nil)
	c.wantRest(nil)
	b.CloseWrite()
	r.end(session.IdleTimeout, 0)
}

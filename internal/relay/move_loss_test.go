package relay_test

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// lossKind is a way in which a session can lose its backend while it is being moved
// for another reason.
type lossKind struct {
	request relay.MoveRequest
	lose    func(b *peer)
	known   func(b *peer) // waits until the engine knows
	onLoss  bool
}

func eachLossKind(t *testing.T, f func(t *testing.T, how lossKind)) {
	for name, how := range map[string]lossKind{
		"EOF": {lose: func(b *peer) { b.CloseWrite() }, known: (*peer).wantCut},
		"RST": {lose: (*peer).reset, known: func(*peer) { time.Sleep(300 * time.Millisecond) }}, // the test can't see when
	} {
		for _, request := range []relay.MoveRequest{drain, moveOnly()} {
			for _, onLoss := range []bool{true, false} {
				how := how
				how.request, how.onLoss = request, onLoss
				t.Run(fmt.Sprintf("%s, %s, on loss %v", how.request.Why, name, how.onLoss), func(t *testing.T) {
					t.Parallel()
					f(t, how)
				})
			}
		}
	}
}

// wantLost waits for the end of a session that has lost its backend and isn't moved.
func (r *fixture) wantLost(c *peer) {
	r.t.Helper()
	c.want(fin|opClose, "\x03\xf4server lost")
	c.close(1012)
	r.end(session.BackendLost, 1012)
}

// testLossWhileAwaitingBoundary: the old backend is lost before the search. With
// OnLoss the session is then moved because of the loss.
func testLossWhileAwaitingBoundary(t *testing.T, e engine) {
	eachLossKind(t, func(t *testing.T, how lossKind) {
		awaitingBoundary := func(r *fixture) (c, b *peer) {
			r.onLoss.Store(how.onLoss)
			c, b = r.open()
			c.send(c.frame(opText, "one ")) // the move waits for its end
			b.want(opText, "one ")
			asks := r.reattacher.reserves()
			r.request(how.request, 1)
			r.until("Reserve was called", func() bool { return r.reattacher.reserves() > asks })
			time.Sleep(20 * time.Millisecond)
			return c, b
		}
		times := relay.Times{Linger: time.Second, Boundary: patience}
		r, to := newMoveFixture(t, e, times, relay.Limits{})
		c, b := awaitingBoundary(r)
		if !how.onLoss {
			how.lose(b)
			r.wantLost(c)
			r.moved(how.request.Why, 0, relay.ErrMoveOver)
			if n := r.reattacher.searches(); n != 0 {
				t.Errorf("%d searches", n)
			}
			return
		}
		how.lose(b)
		b2 := to.accept()
		c.send(c.frame(fin, "two"), c.frame(fin|opText, "whole"))
		b2.wantText("whole")
		r.moved(session.Loss, 8, nil)
		through(c, b2, "after")
		r.finish(c, b2)
		// No backend takes it.
		r.reattacher.onReattach(refuse)
		c, b = awaitingBoundary(r)
		how.lose(b)
		r.wantLost(c)
		r.moved(session.Loss, 0, errNoOther)
	})
}

// testLossWhileConnecting: the old backend is lost during the search, which finds no
// other. With OnLoss the session is then moved because of the loss.
func testLossWhileConnecting(t *testing.T, e engine) {
	eachLossKind(t, func(t *testing.T, how lossKind) {
		for _, timeout := range []bool{false, true} {
			failed := io.EOF
			if timeout {
				failed = relay.ErrMoveTimeout
			}
			// seek makes the engine search for another backend, which fails.
			// The second search may succeed or not.
			seek := func(refused bool) (r *fixture, c *peer, first moved) {
				r, to := newMoveFixture(t, e, quick, relay.Limits{})
				r.onLoss.Store(how.onLoss)
				if timeout {
					r.moveTimeout.Store(int64(time.Second))
				}
				var firstEnds atomic.Int64 // the deadline of the first attempt, in Unix nanoseconds
				r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
					if m.Attempt == 1 {
						firstEnds.Store(m.Deadline.UnixNano())
						f, err := r.reattacher.dial(near, m)
						if err == nil {
							f.Conn.SetDeadline(time.Time{})
							_, err = f.Conn.Read(make([]byte, 1))
							f.Conn.Close()
						}
						return relay.NewBackend{}, err
					}
					// It has the whole time again, from the end of the first.
					var later time.Duration
					if timeout {
						later = time.Duration(r.moveTimeout.Load())
					}
					if d := m.Deadline.Sub(time.Unix(0, firstEnds.Load())); m.Why != session.Loss || d < later*9/10-100*time.Millisecond {
						t.Errorf("the second attempt is for %s, and ends %v after the first's deadline, want about %v", m.Why, d, later)
					}
					if refused {
						return refuse(near, m)
					}
					return r.reattacher.dial(near, m)
				})
				c, b := r.open()
				r.request(how.request, 1)
				b2 := to.accept()
				c.text("held")
				how.lose(b)
				how.known(b)
				if !timeout {
					b2.TCPConn.Close()
				}
				if first = r.moved(how.request.Why, 0, failed); first.Attempt != 1 {
					t.Errorf("%+v", first)
				}
				return r, c, first
			}
			if !how.onLoss {
				r, c, _ := seek(true)
				r.wantLost(c)
				if n := r.reattacher.searches(); n != 1 {
					t.Errorf("%d searches", n)
				}
				continue
			}
			r, c, first := seek(false)
			b2 := r.reattacher.to.accept()
			b2.wantText("held")
			if m := r.moved(session.Loss, 8, nil); m.Attempt != 2 || m.gap <= first.gap {
				t.Errorf("%+v, after %+v: its client is paused from the first on", m, first)
			}
			through(c, b2, "after")
			r.finish(c, b2)

			r, c, _ = seek(true)
			r.moved(session.Loss, 0, errNoOther)
			r.wantLost(c)
		}
	})
}

// testLossFoundWhileConnecting: a search in progress goes on, whatever its reason.
func testLossFoundWhileConnecting(t *testing.T, e engine) {
	eachLossKind(t, func(t *testing.T, how lossKind) {
		r, to := newMoveFixture(t, e, quick, relay.Limits{})
		r.onLoss.Store(how.onLoss)
		r.reattacher.onReattach(r.reattacher.dialAndRead)
		c, b := r.open()
		r.request(how.request, 1)
		b2 := to.accept()
		c.text("held")
		how.lose(b)
		how.known(b)
		c.quiet(50 * time.Millisecond)
		b2.send([]byte("x"))
		b2.wantText("held")
		r.moved(how.request.Why, 8, nil)
		through(c, b2, "after")
		r.finish(c, b2)
	})
}

// testCloseWhileAwaitingBoundary: the old backend closes before the search, while its
// client is inside a message. No other backend can get the whole message, so this
// is like a loss, or like the Close of a session that isn't moved.
func testCloseWhileAwaitingBoundary(t *testing.T, e engine) {
	for _, onLoss := range []bool{true, false} {
		r, to := newMoveFixture(t, e, relay.Times{Linger: time.Second, Boundary: patience}, relay.Limits{})
		r.onLoss.Store(onLoss)
		c, b := r.inPhase(to, "awaitingBoundary")
		b.close(1001)
		if onLoss {
			b2 := to.accept()
			c.send(c.frame(fin, "two"), c.frame(fin|opText, "whole"))
			b2.wantText("whole")
			r.moved(session.Loss, 8, nil)
			through(c, b2, "after")
			r.finish(c, b2)
			continue
		}
		c.wantClose(1001)
		c.send(c.frame(fin, "two"))
		c.close(1001)
		b.want(fin, "two")
		b.wantClose(1001)
		b.TCPConn.Close()
		r.moved(session.Drain, 0, relay.ErrMoveOver)
		r.end(session.BackendClosed, 1001)
	}
}

// testLossWhileMoved: other ends of a session that loses its backend during a
// search.
func testLossWhileMoved(t *testing.T, e engine) {
	for _, onLoss := range []bool{true, false} {
		// loseBackend returns a session whose backend was lost after these bytes,
		// in a search that hangs.
		loseBackend := func(limits relay.Limits, last func(b *peer), lose func(b *peer)) (r *fixture, c, b2 *peer) {
			r, to := newMoveFixture(t, e, quick, limits)
			r.onLoss.Store(onLoss)
			r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
				if m.Why == session.Loss {
					return refuse(near, m)
				}
				return r.reattacher.hang(near, m)
			})
			c, b := r.open()
			r.request(drain, 1)
			b2 = to.accept()
			last(b)
			lose(b)
			return r, c, b2
		}
		nothing := func(*peer) {}
		fin1 := func(b *peer) { b.CloseWrite(); b.wantCut() }

		// It is lost inside a message, which no other backend can finish.
		r, c, b2 := loseBackend(relay.Limits{}, func(b *peer) { b.send(b.frame(opText, "one ")) }, fin1)
		c.want(opText, "one ")
		r.wantLost(c)
		r.moved(session.Drain, 0, relay.ErrMessageCut)
		b2.wantCut()

		// It doesn't answer a ping.
		limits := relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 600 * time.Millisecond}
		r, c, b2 = loseBackend(limits, nothing, func(b *peer) { b.wantPing(); b.wantCut() })
		b2.TCPConn.Close()
		if m := r.nextMove(); m.Why != session.Drain || m.err == nil {
			t.Errorf("%+v", m)
		}
		if onLoss {
			r.moved(session.Loss, 0, errNoOther)
		}
		c.wantClose(1012)
		c.close(1012)
		r.end(session.BackendSilent, 1012)

		// Reserve fails for the loss.
		r, c, b2 = loseBackend(relay.Limits{}, nothing, fin1)
		errNoTurn := errors.New("no turn")
		r.reattacher.onReserve(func(relay.ReattachRequest) (time.Duration, error) { return 0, errNoTurn })
		b2.TCPConn.Close()
		r.nextMove()
		if onLoss {
			r.moved(session.Loss, 0, errNoTurn)
		}
		r.wantLost(c)

		// Its client disconnects, which is noticed at the latest at the end.
		r, c, b2 = loseBackend(relay.Limits{}, nothing, fin1)
		c.reset()
		b2.TCPConn.Close()
		r.nextMove()
		if s := r.endAny(); s.Cause != session.ClientLost && s.Cause != session.BackendLost {
			t.Errorf("ended with %s", s.Cause)
		}

		// It is closed meanwhile.
		r, c, b2 = loseBackend(relay.Limits{}, nothing, fin1)
		r.request(shutdown, 1)
		c.wantClose(1001)
		c.close(1001)
		r.moved(session.Drain, 0, relay.ErrMoveOver)
		r.end(session.Shutdown, 1001)
		b2.wantCut()
	}
}

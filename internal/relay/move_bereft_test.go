package relay_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// bereavement is a way in which a session can lose its backend while it is
// being moved for something else.
type bereavement struct {
	order  relay.Order
	lose   func(b *peer)
	known  func(b *peer) // waits until the engine knows
	onLoss bool
}

func eachBereavement(t *testing.T, f func(t *testing.T, how bereavement)) {
	for name, how := range map[string]bereavement{
		"EOF": {lose: func(b *peer) { b.CloseWrite() }, known: (*peer).wantCut},
		"RST": {lose: (*peer).reset, known: func(*peer) { time.Sleep(300 * time.Millisecond) }}, // nobody can see it
	} {
		for _, order := range []relay.Order{drain, moveOnly()} {
			for _, onLoss := range []bool{true, false} {
				how := how
				how.order, how.onLoss = order, onLoss
				t.Run(fmt.Sprintf("%s, %s, on loss %v", how.order.Why, name, how.onLoss), func(t *testing.T) {
					t.Parallel()
					f(t, how)
				})
			}
		}
	}
}

// wantLost is the end that a session has that loses its backend, and is not
// being moved.
func (r *rig) wantLost(c *peer) {
	r.t.Helper()
	c.want(fin|opClose, "\x03\xf4server lost")
	c.close(1012)
	r.end(session.BackendLost, 1012)
}

// testLossWhileTurning: the old backend goes before another was asked. Where
// sessions outlive that, it is moved for this instead.
func testLossWhileTurning(t *testing.T, e engine) {
	eachBereavement(t, func(t *testing.T, how bereavement) {
		turning := func(r *rig) (c, b *peer) {
			r.onLoss.Store(how.onLoss)
			c, b = r.open()
			c.send(c.frame(opText, "one ")) // and its end is awaited
			b.want(opText, "one ")
			asks := r.mover.asks()
			r.order(how.order, 1)
			r.until("its turn has come", func() bool { return r.mover.asks() > asks })
			time.Sleep(20 * time.Millisecond)
			return c, b
		}
		times := relay.Times{Linger: time.Second, Boundary: patience}
		r, to := newMoveRig(t, e, times, relay.Limits{})
		c, b := turning(r)
		if !how.onLoss {
			how.lose(b)
			r.wantLost(c)
			r.moved(how.order.Why, 0, relay.ErrMoveOver)
			if n := r.mover.asked(); n != 0 {
				t.Errorf("another was asked for %d times", n)
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
		// Nobody will have it.
		r.mover.use(refuse)
		c, b = turning(r)
		how.lose(b)
		r.wantLost(c)
		r.moved(session.Loss, 0, errNoOther)
	})
}

// testLossWhileSeeking: the old backend goes while another is looked for, and
// none is found. Where sessions outlive a loss, it goes on as one.
func testLossWhileSeeking(t *testing.T, e engine) {
	eachBereavement(t, func(t *testing.T, how bereavement) {
		for _, timeout := range []bool{false, true} {
			failed := io.EOF
			if timeout {
				failed = relay.ErrMoveTimeout
			}
			// seek has the engine ask for another backend in vain. What comes
			// of the second time is refused or not.
			seek := func(refused bool) (r *rig, c *peer, first moved) {
				r, to := newMoveRig(t, e, quick, relay.Limits{})
				r.onLoss.Store(how.onLoss)
				if timeout {
					r.moveTimeout.Store(int64(time.Second))
				}
				r.mover.use(func(near transport.Conn, m relay.Moving) (relay.Found, error) {
					if m.Attempt == 1 {
						f, err := r.mover.dial(near, m)
						if err == nil {
							f.Backend.SetDeadline(time.Time{})
							_, err = f.Backend.Read(make([]byte, 1))
							f.Backend.Close()
						}
						return relay.Found{}, err
					}
					if d := time.Until(m.Deadline); m.Why != session.Loss || d < time.Duration(r.moveTimeout.Load())*9/10 {
						t.Errorf("the second attempt is for %s, and to end in %v", m.Why, d)
					}
					if refused {
						return refuse(near, m)
					}
					return r.mover.dial(near, m)
				})
				c, b := r.open()
				r.order(how.order, 1)
				b2 := to.accept()
				c.text("held")
				how.lose(b)
				how.known(b)
				if !timeout {
					b2.TCPConn.Close()
				}
				if first = r.moved(how.order.Why, 0, failed); first.Attempt != 1 {
					t.Errorf("%+v", first)
				}
				return r, c, first
			}
			if !how.onLoss {
				r, c, _ := seek(true)
				r.wantLost(c)
				if n := r.mover.asked(); n != 1 {
					t.Errorf("another was asked for %d times", n)
				}
				continue
			}
			r, c, first := seek(false)
			b2 := r.mover.to.accept()
			b2.wantText("held")
			if m := r.moved(session.Loss, 8, nil); m.Attempt != 2 || m.gap <= first.gap {
				t.Errorf("%+v, after %+v: its client is held from the first on", m, first)
			}
			through(c, b2, "after")
			r.finish(c, b2)

			r, c, _ = seek(true)
			r.moved(session.Loss, 0, errNoOther)
			r.wantLost(c)
		}
	})
}

// testLossFoundWhileSeeking: the search that is under way goes on, whatever it
// is for.
func testLossFoundWhileSeeking(t *testing.T, e engine) {
	eachBereavement(t, func(t *testing.T, how bereavement) {
		r, to := newMoveRig(t, e, quick, relay.Limits{})
		r.onLoss.Store(how.onLoss)
		r.mover.use(r.mover.dialAndRead)
		c, b := r.open()
		r.order(how.order, 1)
		b2 := to.accept()
		c.text("held")
		how.lose(b)
		how.known(b)
		c.quiet(50 * time.Millisecond)
		b2.send([]byte("x"))
		b2.wantText("held")
		r.moved(how.order.Why, 8, nil)
		through(c, b2, "after")
		r.finish(c, b2)
	})
}

// testCloseWhileTurning: the old backend makes room before another was asked,
// while its client is inside a message. No other can have the whole of that, so
// it is as if the backend were lost, or closed a session that stays.
func testCloseWhileTurning(t *testing.T, e engine) {
	for _, onLoss := range []bool{true, false} {
		r, to := newMoveRig(t, e, relay.Times{Linger: time.Second, Boundary: patience}, relay.Limits{})
		r.onLoss.Store(onLoss)
		c, b := r.inPhase(to, "turning")
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

// testLossWhileMoved: what else can come of a session that loses its backend
// while another is looked for.
func testLossWhileMoved(t *testing.T, e engine) {
	for _, onLoss := range []bool{true, false} {
		// bereave is a session whose backend has gone after these bytes, in a
		// search that hangs.
		bereave := func(limits relay.Limits, last func(b *peer), lose func(b *peer)) (r *rig, c, b2 *peer) {
			r, to := newMoveRig(t, e, quick, limits)
			r.onLoss.Store(onLoss)
			r.mover.use(func(near transport.Conn, m relay.Moving) (relay.Found, error) {
				if m.Why == session.Loss {
					return refuse(near, m)
				}
				return r.mover.hang(near, m)
			})
			c, b := r.open()
			r.order(drain, 1)
			b2 = to.accept()
			last(b)
			lose(b)
			return r, c, b2
		}
		nothing := func(*peer) {}
		fin1 := func(b *peer) { b.CloseWrite(); b.wantCut() }

		// It goes in the middle of a message, which no other can end.
		r, c, b2 := bereave(relay.Limits{}, func(b *peer) { b.send(b.frame(opText, "one ")) }, fin1)
		c.want(opText, "one ")
		r.wantLost(c)
		r.moved(session.Drain, 0, relay.ErrMessageCut)
		b2.wantCut()

		// It goes without an end.
		limits := relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 600 * time.Millisecond}
		r, c, b2 = bereave(limits, nothing, func(b *peer) { b.wantPing(); b.wantCut() })
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

		// There is no turn for it as a loss.
		r, c, b2 = bereave(relay.Limits{}, nothing, fin1)
		errNoTurn := errors.New("no turn")
		r.mover.wait(func(relay.Moving) (time.Duration, error) { return 0, errNoTurn })
		b2.TCPConn.Close()
		r.nextMove()
		if onLoss {
			r.moved(session.Loss, 0, errNoTurn)
		}
		r.wantLost(c)

		// Its client goes, which is seen at the latest in the end.
		r, c, b2 = bereave(relay.Limits{}, nothing, fin1)
		c.reset()
		b2.TCPConn.Close()
		r.nextMove()
		if s := r.endAny(); s.Cause != session.ClientLost && s.Cause != session.BackendLost {
			t.Errorf("ended with %s", s.Cause)
		}

		// It is closed meanwhile.
		r, c, b2 = bereave(relay.Limits{}, nothing, fin1)
		r.order(shutdown, 1)
		c.wantClose(1001)
		c.close(1001)
		r.moved(session.Drain, 0, relay.ErrMoveOver)
		r.end(session.Shutdown, 1001)
		b2.wantCut()
	}
}

package relay_test

import (
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// inPhase brings a session into a phase of a move.
func (r *rig) inPhase(to *station, phase string) (c, b *peer) {
	r.t.Helper()
	c, b = r.open()
	switch phase {
	case "turning":
		c.send(c.frame(opText, "one "))
		b.want(opText, "one ")
		r.order(drain, 1)
		r.until("its turn has come", func() bool { return r.mover.asks() == 1 })
		time.Sleep(20 * time.Millisecond)
	case "seeking":
		r.mover.use(r.mover.hang)
		r.order(drain, 1)
		to.accept()
	case "bereft":
		r.mover.use(r.mover.hang)
		b.TCPConn.Close()
		to.accept()
	case "leaving":
		r.mover.use(nil)
		r.order(drain, 1)
		to.accept()
		b.want(fin|opClose, "\x03\xf4session moved")
	}
	return c, b
}

var phases = []string{"turning", "seeking", "bereft", "leaving"}

// testMoveShutdown: an order to close wins over a move, but for one that can't
// go back, and then comes after it.
func testMoveShutdown(t *testing.T, e engine) {
	for _, phase := range phases {
		r, to := newMoveRig(t, e, relay.Times{Linger: time.Second, Boundary: patience}, relay.Limits{})
		c, b := r.inPhase(to, phase)
		if phase == "leaving" {
			r.order(shutdown, 1)
			c.quiet(150 * time.Millisecond)
			b.close(1012)
			r.moved(session.Drain, 8, nil)
			c.wantClose(1001)
		} else {
			r.order(shutdown, 1)
			c.wantClose(1001)
			if m := r.nextMove(); m.err == nil {
				t.Errorf("%s: moved", phase)
			}
			if phase == "turning" {
				c.send(c.frame(fin, "two"))
				b.want(fin, "two")
			}
		}
		c.close(1001)
		r.end(session.Shutdown, 1001)
	}
}

// testMoveAbort: so does Abort, and Close, at once.
func testMoveAbort(t *testing.T, e engine) {
	for _, phase := range phases {
		for _, end := range []string{"abort", "close"} {
			t.Run(phase+", "+end, func(t *testing.T) {
				r, to := newMoveRig(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
				c, _ := r.inPhase(to, phase)
				if end == "abort" {
					r.engine.Abort(session.Shutdown)
				} else {
					r.engine.Close()
				}
				r.end(session.Shutdown, 0)
				if m := r.nextMove(); m.err == nil {
					t.Error("it was moved")
				}
				c.wantCut()
			})
		}
	}
}

// testMoveIdle: so do the limits.
func testMoveIdle(t *testing.T, e engine) {
	for _, limits := range []relay.Limits{{Idle: time.Second}, {Lifetime: time.Second}} {
		r, to := newMoveRig(t, e, quick, limits)
		c, b := r.inPhase(to, "seeking")
		c.wantClose(1001)
		c.close(1001)
		b.wantClose(1001)
		b.TCPConn.Close()
		if s := r.endAny(); s.Cause != session.IdleTimeout && s.Cause != session.MaxLifetime {
			t.Errorf("ended with %s", s.Cause)
		}
		r.moved(session.Drain, 0, relay.ErrMoveOver)
	}
}

// testMoveAgain: an order that comes during a move is about the backend that
// the session leaves, and of no more interest once it has.
func testMoveAgain(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	c, b := r.inPhase(to, "leaving")
	r.order(drain, 1)
	r.order(moveOnly(), 0)
	b.close(1012)
	r.moved(session.Drain, 8, nil)
	time.Sleep(200 * time.Millisecond)
	if n := r.mover.asked(); n != 1 {
		t.Errorf("it was moved %d times", n)
	}
	// Where the first fails, the second has its turn.
	r2, to := newMoveRig(t, e, quick, relay.Limits{})
	r2.mover.use(r2.mover.hang)
	c, b = r2.open()
	r2.order(moveOnly(), 1)
	b2 := to.accept()
	r2.order(drain, 1)
	time.Sleep(150 * time.Millisecond)
	r2.mover.use(nil)
	b2.TCPConn.Close()
	if m := r2.nextMove(); m.err == nil || m.Why != session.Rebalance {
		t.Errorf("%+v", m)
	}
	b2 = to.accept()
	b.bye()
	r2.moved(session.Drain, 8, nil)
	through(c, b2, "after")
	r2.finish(c, b2)
}

// testMoveOrders: which of two orders stands.
func testMoveOrders(t *testing.T, e engine) {
	later := func(o relay.Order) relay.Order { o.Spread = 4 * time.Hour; return o }
	run := func(orders ...relay.Order) (r *rig, c, b *peer) {
		r, _ = newMoveRig(t, e, quick, relay.Limits{})
		c, b = r.open()
		r.open() // the first of one loop may have its turn at once: it's for the others to wait
		r.open()
		r.open()
		for _, o := range orders {
			r.engine.CloseSessions(o)
		}
		return r, c, b
	}
	// One to move does not replace one to close.
	r, _, _ := run(later(shutdown), drain)
	time.Sleep(200 * time.Millisecond)
	if n := r.mover.asked(); n != 0 {
		t.Errorf("%d were moved", n)
	}
	// Which loop a session is on, and so whose turn is at once, is chance.
	if waiting, closing := r.engine.CloseSessions(relay.Order{Keep: true}), r.onlyCauses()[session.Shutdown]; waiting+closing != 4 {
		t.Errorf("%d sessions wait for their turn and %d are being closed, want 4 together", waiting, closing)
	}
	// One to close replaces one to move.
	r, _, _ = run(later(drain), shutdown)
	for range 4 {
		if s := r.endAny(); s.Cause != session.Shutdown && s.Cause != session.BackendDrained {
			t.Errorf("ended with %s", s.Cause)
		}
	}
	// Even one that leaves alone what has a turn.
	late := shutdown
	late.Late = true
	r, _, _ = run(later(drain), late)
	for range 4 {
		if s := r.endAny(); s.Cause != session.Shutdown && s.Cause != session.BackendDrained {
			t.Errorf("ended with %s", s.Cause)
		}
	}
	// Sessions that are not movable are closed by an order to move, and not
	// chosen by one that only moves.
	plain := newRig(t, e, quick, relay.Limits{})
	c, b := plain.open()
	plain.order(moveOnly(), 0)
	through(c, b, "stays")
	plain.order(drain, 1)
	c.wantClose(1001)
	plain.end(session.BackendDrained, 1001)
}

func (r *rig) onlyCauses() map[session.Cause]int {
	causes := map[session.Cause]int{}
	r.engine.Each(func(s session.Summary) { causes[s.Cause]++ })
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.ended {
		causes[s.Cause]++
	}
	return causes
}

// testMovePings: pings of ours that the old backend has not answered are
// forgotten, and those of a client that is held wait.
func testMovePings(t *testing.T, e engine) {
	limits := relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 700 * time.Millisecond}
	r, to := newMoveRig(t, e, relay.Times{Linger: patience, Boundary: patience}, limits)
	c, b := r.open()
	old := b.wantPing()
	texts := make(chan got, 100)
	c.answer(func(g got) { texts <- g })
	r.order(drain, 1)
	b2 := to.accept()
	b.wantClose(1012)
	// For longer than the client would be allowed to be silent, its pongs are
	// not read.
	for range 8 {
		b.send(b.frame(fin|opText, "talks"))
		time.Sleep(200 * time.Millisecond)
	}
	for range 8 {
		if g := <-texts; g.payload != "talks" {
			t.Fatalf("the client got %v", g)
		}
	}
	b.send(b.frame(fin|opPong, old)) // still swallowed
	b.close(1012)
	nonce := b2.wantPing()
	if nonce == old {
		t.Error("the new backend gets the old one's ping")
	}
	// A pong for the old one's ping is nothing that was asked of the new one.
	b2.send(b2.frame(fin|opPong, old), b2.frame(fin|opPong, nonce), b2.frame(fin|opText, "new"))
	if g := <-texts; g.first != fin|opPong || g.payload != old {
		t.Errorf("the client got %v", g)
	}
	if g := <-texts; g.payload != "new" {
		t.Errorf("the client got %v", g)
	}
	r.moved(session.Drain, 8, nil)
	b2.answer(nil)
	time.Sleep(1500 * time.Millisecond) // both live
	if n := r.engine.Active(); n != 1 {
		t.Errorf("Active = %d: %+v", n, r.endAny())
	}
}

package relay_test

import (
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// inPhase brings a session into a phase of a move.
func (r *fixture) inPhase(to *station, phase string) (c, b *peer) {
	r.t.Helper()
	c, b = r.open()
	switch phase {
	case "awaitingBoundary":
		c.send(c.frame(opText, "one "))
		b.want(opText, "one ")
		r.request(drain, 1)
		r.until("Reserve was called", func() bool { return r.reattacher.reserves() == 1 })
		time.Sleep(20 * time.Millisecond)
	case "connecting":
		r.reattacher.onReattach(r.reattacher.hang)
		r.request(drain, 1)
		to.accept()
	case "backendGone":
		r.reattacher.onReattach(r.reattacher.hang)
		b.TCPConn.Close()
		to.accept()
	case "leaving":
		r.reattacher.onReattach(nil)
		r.request(drain, 1)
		to.accept()
		b.want(fin|opClose, "\x03\xf4session moved")
	}
	return c, b
}

var phases = []string{"awaitingBoundary", "connecting", "backendGone", "leaving"}

// testMoveShutdown: a request to close cancels a move. If the old backend has got our
// Close already, the session is closed after the move.
func testMoveShutdown(t *testing.T, e engine) {
	for _, phase := range phases {
		r, to := newMoveFixture(t, e, relay.Times{Linger: time.Second, Boundary: patience}, relay.Limits{})
		c, b := r.inPhase(to, phase)
		if phase == "leaving" {
			r.request(shutdown, 1)
			c.quiet(150 * time.Millisecond)
			b.close(1012)
			r.moved(session.Drain, 8, nil)
			c.wantClose(1001)
		} else {
			r.request(shutdown, 1)
			c.wantClose(1001)
			if m := r.nextMove(); m.err == nil {
				t.Errorf("%s: moved", phase)
			}
			if phase == "awaitingBoundary" {
				c.send(c.frame(fin, "two"))
				b.want(fin, "two")
			}
		}
		c.close(1001)
		r.end(session.Shutdown, 1001)
	}
}

// testMoveAbort: Abort and Close cancel a move at once.
func testMoveAbort(t *testing.T, e engine) {
	for _, phase := range phases {
		for _, end := range []string{"abort", "close"} {
			t.Run(phase+", "+end, func(t *testing.T) {
				r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
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

// testMoveReportedFirst: a session that ends while it searches for a backend is
// counted, and its end isn't reported, until the end of its move was reported. That
// waits for Reattach to return.
func testMoveReportedFirst(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	failed, proceed := make(chan struct{}), make(chan struct{})
	r.reattacher.onReattach(func(parent transport.Conn, q relay.ReattachRequest) (relay.NewBackend, error) {
		found, err := r.reattacher.hang(parent, q)
		close(failed)
		<-proceed // on epoll the whole loop waits
		return found, err
	})
	r.open()
	r.request(drain, 1)
	to.accept()
	go r.engine.Abort(session.Shutdown)
	select {
	case <-failed:
	case <-time.After(patience):
		t.Fatal("Reattach goes on after the end of its session")
	}
	select {
	case s := <-r.ends:
		t.Errorf("the end is reported before that of the move: %+v", s)
		r.ends <- s
	case <-time.After(100 * time.Millisecond):
	}
	if n := r.engine.Active(); n != 1 {
		t.Errorf("Active = %d before the end of the move", n)
	}
	close(proceed)
	r.end(session.Shutdown, 0)
	if n := len(r.reattacher.done); n != 1 {
		t.Errorf("%d moves were reported before the end of the session, want 1", n)
	}
	r.moved(session.Drain, 0, relay.ErrMoveOver)
}

// testMoveIdle: the limits cancel a move too.
func testMoveIdle(t *testing.T, e engine) {
	for _, limits := range []relay.Limits{{Idle: 5 * time.Second}, {Lifetime: 5 * time.Second}} { // long enough to get there
		r, to := newMoveFixture(t, e, quick, limits)
		c, b := r.inPhase(to, "connecting")
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

// testMoveAgain: a request during a move is about the backend that the session
// leaves. It is ignored after the swap.
func testMoveAgain(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	c, b := r.inPhase(to, "leaving")
	r.request(drain, 1)
	r.request(moveOnly(), 0)
	b.close(1012)
	r.moved(session.Drain, 8, nil)
	time.Sleep(200 * time.Millisecond)
	if n := r.reattacher.searches(); n != 1 {
		t.Errorf("it was moved %d times", n)
	}
	// If the first move fails, the second request has its turn.
	r2, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	r2.reattacher.onReattach(r2.reattacher.hang)
	c, b = r2.open()
	r2.request(moveOnly(), 1)
	b2 := to.accept()
	r2.request(drain, 1)
	time.Sleep(150 * time.Millisecond)
	r2.reattacher.onReattach(nil)
	b2.TCPConn.Close()
	if m := r2.nextMove(); m.err == nil || m.Why != session.Rebalance {
		t.Errorf("%+v", m)
	}
	b2 = to.accept()
	b.answerClose()
	r2.moved(session.Drain, 8, nil)
	through(c, b2, "after")
	r2.finish(c, b2)
}

// testMoveRequests: which of two requests wins.
func testMoveRequests(t *testing.T, e engine) {
	laterShutdown, laterDrain := shutdown, drain
	laterShutdown.Spread, laterDrain.Spread = 4*time.Hour, 4*time.Hour
	run := func(requests ...any) (r *fixture, c, b *peer) {
		r, _ = newMoveFixture(t, e, quick, relay.Limits{})
		c, b = r.open()
		r.open() // the first session of a loop may have its turn at once; the others wait
		r.open()
		r.open()
		for _, o := range requests {
			carryOut(r.engine, o)
		}
		return r, c, b
	}
	// A request to move doesn't replace one to close.
	r, _, _ := run(laterShutdown, drain)
	time.Sleep(200 * time.Millisecond)
	if n := r.reattacher.searches(); n != 0 {
		t.Errorf("%d were moved", n)
	}
	// It depends on the loops of the sessions which of them have their turn at once.
	if waiting, closing := r.engine.Cancel(relay.CancelRequest{}), r.onlyCauses()[session.Shutdown]; waiting+closing != 4 {
		t.Errorf("%d sessions wait for their turn and %d are being closed, want 4 together", waiting, closing)
	}
	// A request to close replaces one to move.
	r, _, _ = run(laterDrain, shutdown)
	for range 4 {
		if s := r.endAny(); s.Cause != session.Shutdown && s.Cause != session.BackendDrained {
			t.Errorf("ended with %s", s.Cause)
		}
	}
	// Even with SkipScheduled.
	late := shutdown
	late.SkipScheduled = true
	r, _, _ = run(laterDrain, late)
	for range 4 {
		if s := r.endAny(); s.Cause != session.Shutdown && s.Cause != session.BackendDrained {
			t.Errorf("ended with %s", s.Cause)
		}
	}
	// Sessions that aren't movable are closed by a request to move or close, and not
	// chosen by one that only moves.
	plain := newFixture(t, e, quick, relay.Limits{})
	c, b := plain.open()
	plain.request(moveOnly(), 0)
	through(c, b, "stays")
	plain.request(drain, 1)
	c.wantClose(1001)
	plain.end(session.BackendDrained, 1001)
}

func (r *fixture) onlyCauses() map[session.Cause]int {
	causes := map[session.Cause]int{}
	r.engine.Each(func(s session.Summary) { causes[s.Cause]++ })
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.ended {
		causes[s.Cause]++
	}
	return causes
}

// testMovePings: our pings that the old backend has not answered are forgotten, and a
// paused client isn't pinged.
func testMovePings(t *testing.T, e engine) {
	limits := relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 3 * time.Second}
	r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, limits)
	c, b := r.open()
	old := b.wantPing()
	texts := make(chan got, 100)
	c.answer(func(g got) { texts <- g })
	r.request(drain, 1)
	b2 := to.accept()
	b.wantClose(1012)
	// The client's pongs aren't read, for longer than it may be silent otherwise.
	const talks = 20
	for range talks {
		b.send(b.frame(fin|opText, "talks"))
		time.Sleep(200 * time.Millisecond)
	}
	for range talks {
		if g := <-texts; g.payload != "talks" {
			t.Fatalf("the client got %v", g)
		}
	}
	b.send(b.frame(fin|opPong, old)) // still not passed on
	b.close(1012)
	nonce := b2.wantPing()
	if nonce == old {
		t.Error("the new backend gets the old one's ping")
	}
	// A pong for the old backend's ping doesn't answer the new one's.
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

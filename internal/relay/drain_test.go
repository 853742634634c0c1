package relay_test

import (
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// closeOnly is the request of a drain at its deadline.
func closeOnly() relay.CloseRequest {
	return relay.CloseRequest{SkipScheduled: true,
		Close: relay.Close{Cause: session.BackendDrained, Code: relay.CodeGoingAway, Reason: relay.GoingAway}}
}

// testDrainDeadline: at a drain's deadline a move that has not ended is given up,
// whatever it waits for.
func testDrainDeadline(t *testing.T, e engine) {
	for _, phase := range []string{"waiting", "awaitingBoundary", "connecting"} {
		t.Run(phase, func(t *testing.T) {
			r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
			var c, b *peer
			if phase == "waiting" {
				r.reattacher.onReserve(func(relay.ReattachRequest) (time.Duration, error) { return time.Hour, nil })
				c, b = r.open()
				first := drain
				first.OrClose = nil
				r.request(first, 1)
				r.until("it waits", func() bool { return r.reattacher.reserves() == 1 })
			} else {
				c, b = r.inPhase(to, phase)
			}
			r.request(closeOnly(), 1)
			c.wantClose(1001)
			r.moved(session.Drain, 0, relay.ErrMoveOver)
			if phase == "awaitingBoundary" { // the message that has begun isn't cut
				c.send(c.frame(fin, "two"))
				b.want(fin, "two")
			}
			c.close(1001)
			b.wantClose(1001)
			b.TCPConn.Close()
			r.end(session.BackendDrained, 1001)
			if n := r.reattacher.searches(); n > 1 {
				t.Errorf("it was moved %d times", n)
			}
		})
	}
	// A session whose old backend has got our Close is still moved.
	r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	r.reattacher.onReattach(nil)
	c, b := r.open()
	r.request(drain, 1)
	b2 := to.accept()
	b.want(fin|opClose, "\x03\xf4session moved")
	r.request(closeOnly(), 0)
	time.Sleep(150 * time.Millisecond)
	b.close(1012)
	r.moved(session.Drain, 8, nil)
	through(c, b2, "after")
	r.finish(c, b2)
	// So is one that has lost its old backend.
	r, to = newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	r.reattacher.onReattach(r.reattacher.dialAndRead)
	c, b = r.open()
	b.TCPConn.Close()
	b2 = to.accept()
	r.request(closeOnly(), 0)
	time.Sleep(150 * time.Millisecond)
	b2.send([]byte("x"))
	r.moved(session.Loss, 8, nil)
	through(c, b2, "after")
	r.finish(c, b2)
}

// testDrainRepeated: a request that is repeated while a move fails slowly doesn't
// move any session again.
func testDrainRepeated(t *testing.T, e engine) {
	for _, hangs := range []bool{true, false} {
		r, to := newMoveFixture(t, e, quick, relay.Limits{})
		r.moveTimeout.Store(int64(time.Second))
		r.reattacher.onReattach(r.reattacher.hang)
		c, b := r.open()
		if !hangs {
			c.send(c.frame(opText, "never ending "))
			b.want(opText, "never ending ")
		}
		first, again := drain, drain
		first.OrClose, again.SkipScheduled = nil, true
		r.request(first, 1)
		r.request(drain, 1) // its turn hasn't come, or it is being moved
		if hangs {
			to.accept()
		}
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			c.wantClose(1001)
		}()
		for done := false; !done; {
			select {
			case <-closed:
				done = true
			case <-time.After(50 * time.Millisecond):
				r.engine.MoveSessions(again)
			}
		}
		want := 1 // or 2 if its first move had begun before the request to close
		if n := r.reattacher.searches(); n > 1+want || !hangs && n != 0 {
			t.Errorf("hangs %v: %d searches", hangs, n)
		}
		c.TCPConn.Close()
		b.TCPConn.Close()
		r.endAny()
	}
}

// testDrainUpgraded: a request to move or close, for sessions that wait for their
// turn of a request that only moves.
func testDrainUpgraded(t *testing.T, e engine) {
	r, _ := newMoveFixture(t, e, quick, relay.Limits{})
	r.reattacher.onReattach(refuse)
	var clients []*peer
	for range 8 {
		c, _ := r.open()
		clients = append(clients, c)
	}
	first := drain
	first.OrClose, first.Spread = nil, time.Second
	both := drain
	both.Spread = time.Second
	r.request(first, 8)
	r.request(both, 8)
	for _, c := range clients {
		c.wantClose(1001)
		c.TCPConn.Close()
	}
	if n := r.reattacher.searches(); n < 8 || n > 16 {
		t.Errorf("8 sessions were moved %d times", n)
	}
}

// testDrainRebalanced: a drain also moves sessions that wait for a rebalance, or whose
// rebalance then isn't needed.
func testDrainRebalanced(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
		if m.Why == session.Drain {
			return r.reattacher.dial(near, m)
		}
		f, err := r.reattacher.dialAndRead(near, m)
		if err == nil {
			f.Conn.Close()
		}
		return relay.NewBackend{}, errNoOther
	})
	drained := func(c, b *peer) {
		b2 := to.accept()
		b.answerClose()
		r.moved(session.Drain, 8, nil)
		through(c, b2, "after")
		r.finish(c, b2)
	}
	only := drain
	only.OrClose = nil

	c, b := r.open()
	r.request(moveOnly(), 1)
	other := to.accept()
	r.request(only, 1)
	other.send([]byte("x"))
	if m := r.nextMove(); m.err != errNoOther {
		t.Errorf("the rebalance ended with %v", m.err)
	}
	drained(c, b)

	later := moveOnly()
	later.Spread = time.Hour
	r.open() // the first one has its turn at once
	c, b = r.open()
	r.request(later, 2)
	to.accept().send([]byte("x"))
	r.moved(session.Rebalance, 0, errNoOther)
	only.Sessions = map[session.ID]bool{r.infoOf(c).ID: true}
	r.request(only, 1)
	drained(c, b)
	r.engine.Abort(session.Shutdown)
}

package relay_test

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

var errNoneNow = errors.New("none at this moment")

// barren has the Mover say, at the first n looks for a backend, that there is
// none now. looks returns what it was told at each, and when.
func (m *mover) barren(n int) (looks func() (all []relay.Moving, at []time.Time)) {
	var mu sync.Mutex // guards the following
	var all []relay.Moving
	var at []time.Time
	m.use(func(near transport.Conn, mv relay.Moving) (relay.Found, error) {
		mu.Lock()
		all, at = append(all, mv), append(at, time.Now())
		none := len(all) <= n
		mu.Unlock()
		if none {
			return relay.Found{}, relay.NotNow{Err: errNoneNow}
		}
		return m.dial(near, mv)
	})
	return func() ([]relay.Moving, []time.Time) {
		mu.Lock()
		defer mu.Unlock()
		return all, at
	}
}

const always = 1 << 30

// testAgain: a session that has lost its backend is held, and looks again until
// there is one for it. That is one move.
func testAgain(t *testing.T, e engine) {
	const n = 3
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	c, b := r.open()
	looks := r.mover.barren(n)
	lost := time.Now()
	b.reset()
	r.until("it has looked", func() bool { return r.mover.asked() > 0 })
	c.text("held")
	b2 := to.accept()
	b2.wantText("held")
	m := r.moved(session.Loss, 8, nil)
	through(c, b2, "after")
	all, at := looks()
	if len(all) != n+1 || r.mover.asks() != n+1 || m.gap < 3*100*time.Millisecond || m.Attempt != 1 {
		t.Errorf("after %d looks and %d calls of Delay: %+v", len(all), r.mover.asks(), m)
	}
	for i, mv := range all {
		if mv.Again != (i > 0) || mv.Attempt != 1 || mv.Why != session.Loss {
			t.Errorf("look %d is told %+v", i, mv)
		}
		// All have their time since the loss, in ticks of 67 ms.
		if late := mv.Deadline.Sub(lost.Add(patience)); late < -200*time.Millisecond || late > 10*time.Second {
			t.Errorf("look %d is to end %v after its time", i, late)
		}
		if i > 0 && mv.Deadline.Sub(all[i-1].Deadline) > 150*time.Millisecond {
			t.Errorf("look %d has a later deadline than the one before: %v, %v", i, mv.Deadline, all[i-1].Deadline)
		}
		if i > 0 && at[i].Sub(at[i-1]) < 50*time.Millisecond {
			t.Errorf("look %d comes %v after the one before", i, at[i].Sub(at[i-1]))
		}
	}
	// Another move is another.
	third := r.station(9)
	r.mover.sendTo(third)
	b2.reset()
	b3 := third.accept()
	if m := r.moved(session.Loss, 9, nil); m.Attempt != 2 || m.Again {
		t.Errorf("the second move is told as %+v", m)
	}
	through(c, b3, "after that")
	r.finish(c, b3)
}

// testAgainDelay: what the Mover knows without a look is no more final.
func testAgainDelay(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	var mu sync.Mutex
	var agains []bool
	r.mover.wait(func(mv relay.Moving) (time.Duration, error) {
		mu.Lock()
		defer mu.Unlock()
		agains = append(agains, mv.Again)
		switch len(agains) {
		case 1, 2:
			return 0, relay.NotNow{Err: errNoneNow}
		case 3:
			return 100 * time.Millisecond, nil
		}
		return 0, nil
	})
	c, b := r.open()
	b.TCPConn.Close()
	b2 := to.accept()
	if m := r.moved(session.Loss, 8, nil); m.Attempt != 1 || m.gap < 200*time.Millisecond {
		t.Errorf("%+v", m)
	}
	mu.Lock()
	if len(agains) != 4 || agains[0] || !agains[1] || !agains[3] || r.mover.asked() != 1 {
		t.Errorf("Delay is told %v of looking again; %d looks", agains, r.mover.asked())
	}
	mu.Unlock()
	through(c, b2, "after")
	r.finish(c, b2)
}

// testAgainDeadline: in vain, it ends when its time since the loss is over, with
// what the last look came to.
func testAgainDeadline(t *testing.T, e engine) {
	const timeout = 1200 * time.Millisecond
	r, _ := newMoveRig(t, e, quick, relay.Limits{KeepaliveInterval: 100 * time.Millisecond, KeepaliveTimeout: 200 * time.Millisecond})
	r.moveTimeout.Store(int64(timeout))
	looks := r.mover.barren(always)
	c, b := r.open()
	lost := time.Now()
	b.reset()
	// Held, it isn't expected to answer pings, since nothing of it could be heard.
	c.wantClose(1012)
	if d := time.Since(lost); d < timeout-100*time.Millisecond {
		t.Errorf("it is given up after %v", d)
	}
	c.close(1012)
	r.end(session.BackendLost, 1012)
	if m := r.moved(session.Loss, 0, errNoneNow); m.err != errNoneNow || m.Attempt != 1 || m.gap < timeout/2 {
		t.Errorf("%+v", m)
	}
	if all, _ := looks(); len(all) < 2 || len(all) > 8 {
		t.Errorf("%d looks", len(all))
	}
}

// testAgainNotLost: one that has its backend doesn't wait for another.
func testAgainNotLost(t *testing.T, e engine) {
	r, _ := newMoveRig(t, e, quick, relay.Limits{})
	looks := r.mover.barren(always)
	c, b := r.open()
	r.order(moveOnly(), 1)
	r.moved(session.Rebalance, 0, errNoneNow)
	through(c, b, "it stays")
	r.order(drain, 1)
	r.moved(session.Drain, 0, errNoneNow)
	c.wantClose(1001)
	c.close(1001)
	b.wantClose(1001)
	b.TCPConn.Close()
	r.end(session.BackendDrained, 1001)
	if all, _ := looks(); len(all) != 2 {
		t.Errorf("%d looks", len(all))
	}
}

// testAgainOrder: an order to move those of the lost backend changes nothing
// for one that is to leave it anyway.
func testAgainOrder(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	looks := r.mover.barren(2)
	c, b := r.open()
	b.reset()
	r.until("it has looked", func() bool { all, _ := looks(); return len(all) == 1 })
	r.order(drain, 1)
	b2 := to.accept()
	r.moved(session.Loss, 8, nil)
	through(c, b2, "after")
	if all, _ := looks(); len(all) != 3 {
		t.Errorf("%d looks", len(all))
	}
	r.finish(c, b2)
}

// testAgainEnds: one that waits to look again can end in any way.
func testAgainEnds(t *testing.T, e engine) {
	for how, end := range map[string]struct {
		do    func(r *rig, c *peer)
		cause session.Cause
	}{
		"client closes its end": {func(_ *rig, c *peer) { c.TCPConn.CloseWrite() }, session.ClientLost},
		"client lost":           {func(_ *rig, c *peer) { c.reset() }, session.ClientLost},
		"shutdown": {func(r *rig, c *peer) {
			r.engine.CloseSessions(shutdown)
			c.wantClose(1001)
			c.close(1001)
		}, session.Shutdown},
		"abort": {func(r *rig, _ *peer) { r.engine.Abort(session.Shutdown) }, session.Shutdown},
		"close": {func(r *rig, _ *peer) { r.engine.Close() }, session.Shutdown},
	} {
		r, _ := newMoveRig(t, e, quick, relay.Limits{})
		looks := r.mover.barren(always)
		c, b := r.open()
		b.reset()
		r.until("it has looked again", func() bool { all, _ := looks(); return len(all) == 2 })
		began := time.Now()
		end.do(r, c)
		if s := r.endAny(); s.Cause != end.cause || time.Since(began) > patience/2 {
			t.Errorf("%s: ended with %s after %v", how, s.Cause, time.Since(began))
		}
		if m := r.nextMove(); !errors.Is(m.err, relay.ErrMoveOver) || m.Attempt != 1 {
			t.Errorf("%s: the move ended with %v", how, m.err)
		}
	}
}

// TestManyLookAgain is apart from the suite, whose other tests have goroutines
// and descriptors as well.
func TestManyLookAgain(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { testManyLookAgain(t, e) })
	}
}

// testManyLookAgain: those who wait have no goroutine and no descriptor but
// their client's, and don't come in step.
func testManyLookAgain(t *testing.T, e engine) {
	const sessions = 1000
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	clients, backends, _, _ := r.throng(sessions)
	go func() {
		for {
			c, err := to.Accept()
			if err != nil {
				return
			}
			go echo(c, 1)
		}
	}()
	looks := r.mover.barren(always)
	goroutines, files := runtime.NumGoroutine(), descriptors()
	for _, b := range backends {
		b.TCPConn.Close()
	}
	r.until("all have looked twice", func() bool { all, _ := looks(); return len(all) >= 2*sessions })
	for i := range 10 { // some may be looking right now, but not always
		g, f := runtime.NumGoroutine(), descriptors()
		// The test's own end of each backend's connection, and the balancer's.
		if g <= goroutines && f <= files-2*sessions {
			break
		}
		if i == 9 {
			t.Errorf("with %d sessions that wait there are %d goroutines and %d descriptors; there were %d and %d", sessions, g, f, goroutines, files)
		}
		time.Sleep(30 * time.Millisecond)
	}
	// By the most that have looked within a tenth of a second, from the second
	// look on. In step it would be all.
	_, at := looks()
	at = at[sessions:]
	most, from := 0, 0
	for i := range at {
		for at[i].Sub(at[from]) > 100*time.Millisecond {
			from++
		}
		most = max(most, i-from+1)
	}
	if most > sessions*4/5 {
		t.Errorf("%d of %d looked again within 100 ms", most, sessions)
	}
	r.mover.use(r.mover.dial)
	for range sessions {
		if m := r.nextMove(); m.err != nil || m.to != 8 || m.Attempt != 1 {
			t.Fatalf("a move ended with %+v", m)
		}
	}
	for _, i := range []int{0, sessions - 1} {
		clients[i].text("after")
		clients[i].wantText("after")
	}
}

package relay_test

import (
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

var errNoneNow = errors.New("none at this moment")

// noneAtFirst makes the first n searches fail with a Retryable. searches returns the
// requests so far, and when they came.
func (m *reattacher) noneAtFirst(n int) (searches func() (all []relay.ReattachRequest, at []time.Time)) {
	var mu sync.Mutex // guards the following
	var all []relay.ReattachRequest
	var at []time.Time
	m.onReattach(func(near transport.Conn, mv relay.ReattachRequest) (relay.NewBackend, error) {
		mu.Lock()
		all, at = append(all, mv), append(at, time.Now())
		none := len(all) <= n
		mu.Unlock()
		if none {
			return relay.NewBackend{}, relay.Retryable{Err: errNoneNow}
		}
		return m.dial(near, mv)
	})
	return func() ([]relay.ReattachRequest, []time.Time) {
		mu.Lock()
		defer mu.Unlock()
		return all, at
	}
}

const always = 1 << 30

// testAgain: the client of a session that has lost its backend is paused, and the
// session searches again until there is a backend. This is one move.
func testAgain(t *testing.T, e engine) {
	const n = 3
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	searches := r.reattacher.noneAtFirst(n)
	lost := time.Now()
	b.reset()
	r.until("it has searched", func() bool { return r.reattacher.searches() > 0 })
	c.text("held")
	b2 := to.accept()
	b2.wantText("held")
	m := r.moved(session.Loss, 8, nil)
	through(c, b2, "after")
	all, at := searches()
	if len(all) != n+1 || r.reattacher.reserves() != n+1 || m.gap < 3*100*time.Millisecond || m.Attempt != 1 {
		t.Errorf("after %d searches and %d calls of Reserve: %+v", len(all), r.reattacher.reserves(), m)
	}
	for i, mv := range all {
		if mv.Again != (i > 0) || mv.Attempt != 1 || mv.Why != session.Loss {
			t.Errorf("search %d is told %+v", i, mv)
		}
		// The deadline of all counts from the loss, in ticks of 67 ms, of a clock that a
		// slow machine delays.
		if late := mv.Deadline.Sub(lost.Add(patience)); late < -5*time.Second || late > patience/2 {
			t.Errorf("search %d is to end %v after its time", i, late)
		}
		if i > 0 && mv.Deadline.Sub(all[i-1].Deadline) > 150*time.Millisecond {
			t.Errorf("search %d has a later deadline than the one before: %v, %v", i, mv.Deadline, all[i-1].Deadline)
		}
		if i > 0 && at[i].Sub(at[i-1]) < 50*time.Millisecond {
			t.Errorf("search %d comes %v after the one before", i, at[i].Sub(at[i-1]))
		}
	}
	// The next move is a new one.
	third := r.station(9)
	r.reattacher.sendTo(third)
	b2.reset()
	b3 := third.accept()
	if m := r.moved(session.Loss, 9, nil); m.Attempt != 2 || m.Again {
		t.Errorf("the second move is told as %+v", m)
	}
	through(c, b3, "after that")
	r.finish(c, b3)
}

// testAgainDelay: a Retryable error of Reserve isn't final either.
func testAgainDelay(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	var mu sync.Mutex
	var agains []bool
	r.reattacher.onReserve(func(mv relay.ReattachRequest) (time.Duration, error) {
		mu.Lock()
		defer mu.Unlock()
		agains = append(agains, mv.Again)
		switch len(agains) {
		case 1, 2:
			return 0, relay.Retryable{Err: errNoneNow}
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
	if len(agains) != 4 || agains[0] || !agains[1] || !agains[3] || r.reattacher.searches() != 1 {
		t.Errorf("Reserve is told %v of searching again; %d searches", agains, r.reattacher.searches())
	}
	mu.Unlock()
	through(c, b2, "after")
	r.finish(c, b2)
}

// testAgainDeadline: if no search succeeds, the session ends when its time since the
// loss is over, with the error of the last search.
func testAgainDeadline(t *testing.T, e engine) {
	const timeout = 6 * time.Second
	r, _ := newMoveFixture(t, e, quick, relay.Limits{KeepaliveInterval: time.Second, KeepaliveTimeout: 2 * time.Second})
	r.moveTimeout.Store(int64(timeout))
	searches := r.reattacher.noneAtFirst(always)
	c, b := r.open()
	lost := time.Now()
	b.reset()
	// A paused client isn't expected to answer pings, since it isn't read.
	c.wantClose(1012)
	if d := time.Since(lost); d < timeout/2 { // the machine may have stood still
		t.Errorf("it is given up after %v", d)
	}
	c.close(1012)
	r.end(session.BackendLost, 1012)
	if m := r.moved(session.Loss, 0, errNoneNow); m.err != errNoneNow || m.Attempt != 1 || m.gap < timeout/2 {
		t.Errorf("%+v", m)
	}
	if all, _ := searches(); len(all) < 2 || len(all) > 24 {
		t.Errorf("%d searches", len(all))
	}
}

// testAgainNotLost: a session that still has its backend doesn't search again.
func testAgainNotLost(t *testing.T, e engine) {
	r, _ := newMoveFixture(t, e, quick, relay.Limits{})
	searches := r.reattacher.noneAtFirst(always)
	c, b := r.open()
	r.request(moveOnly(), 1)
	r.moved(session.Rebalance, 0, errNoneNow)
	through(c, b, "it stays")
	r.request(drain, 1)
	r.moved(session.Drain, 0, errNoneNow)
	c.wantClose(1001)
	c.close(1001)
	b.wantClose(1001)
	b.TCPConn.Close()
	r.end(session.BackendDrained, 1001)
	if all, _ := searches(); len(all) != 2 {
		t.Errorf("%d searches", len(all))
	}
}

// testAgainRequest: a request to move the sessions of the lost backend changes
// nothing for a session that is already leaving it.
func testAgainRequest(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	searches := r.reattacher.noneAtFirst(2)
	c, b := r.open()
	b.reset()
	r.until("it has searched", func() bool { all, _ := searches(); return len(all) == 1 })
	r.request(drain, 1)
	b2 := to.accept()
	r.moved(session.Loss, 8, nil)
	through(c, b2, "after")
	if all, _ := searches(); len(all) != 3 {
		t.Errorf("%d searches", len(all))
	}
	r.finish(c, b2)
}

// testAgainEnds: a session that waits for its next search can end in any way.
func testAgainEnds(t *testing.T, e engine) {
	for how, end := range map[string]struct {
		do    func(r *fixture, c *peer)
		cause session.Cause
	}{
		"client closes its end": {func(_ *fixture, c *peer) { c.TCPConn.CloseWrite() }, session.ClientLost},
		"client lost":           {func(_ *fixture, c *peer) { c.reset() }, session.ClientLost},
		"shutdown": {func(r *fixture, c *peer) {
			r.engine.CloseSessions(shutdown)
			c.wantClose(1001)
			c.close(1001)
		}, session.Shutdown},
		"abort": {func(r *fixture, _ *peer) { r.engine.Abort(session.Shutdown) }, session.Shutdown},
		"close": {func(r *fixture, _ *peer) { r.engine.Close() }, session.Shutdown},
	} {
		r, _ := newMoveFixture(t, e, quick, relay.Limits{})
		searches := r.reattacher.noneAtFirst(always)
		c, b := r.open()
		b.reset()
		r.until("it has searched again", func() bool { all, _ := searches(); return len(all) >= 2 })
		began := time.Now()
		end.do(r, c)
		if s := r.endAny(); s.Cause != end.cause || time.Since(began) > patience {
			t.Errorf("%s: ended with %s after %v", how, s.Cause, time.Since(began))
		}
		if m := r.nextMove(); !errors.Is(m.err, relay.ErrMoveOver) || m.Attempt != 1 {
			t.Errorf("%s: the move ended with %v", how, m.err)
		}
	}
}

// TestManySearchAgain isn't part of the suite, since it counts goroutines and
// descriptors.
func TestManySearchAgain(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { testManySearchAgain(t, e) })
	}
}

// testManySearchAgain: sessions that wait for their next search need no goroutine and
// only their client's descriptor, and they don't search all at once.
func testManySearchAgain(t *testing.T, e engine) {
	const sessions = 1000
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	clients, backends, _, _ := r.openMany(sessions)
	go func() {
		for {
			c, err := to.Accept()
			if err != nil {
				return
			}
			go echo(c, 1)
		}
	}()
	searches := r.reattacher.noneAtFirst(always)
	stalled := watchStalls(t)
	goroutines, files := runtime.NumGoroutine(), descriptors()
	for _, b := range backends {
		b.TCPConn.Close()
	}
	r.until("all have searched twice", func() bool { all, _ := searches(); return len(all) >= 2*sessions })
	for i := range 10 { // some may be searching now, but not always
		g, f := runtime.NumGoroutine(), descriptors()
		// Both ends of each backend's connection are closed.
		if g <= goroutines && f <= files-2*sessions {
			break
		}
		if i == 9 {
			t.Errorf("with %d sessions that wait there are %d goroutines and %d descriptors; there were %d and %d", sessions, g, f, goroutines, files)
		}
		time.Sleep(30 * time.Millisecond)
	}
	// The largest number that have searched within 100 ms, from the second search
	// on. If they did so all at once, it would be all. While the machine stands
	// still, whatever is due gathers, so such times say nothing.
	const window = 100 * time.Millisecond
	r.until("there are searches while the machine doesn't stand still", func() bool {
		_, at := searches()
		at = at[sessions:]
		most, from, counted := 0, 0, 0
		for i := range at {
			for at[i].Sub(at[from]) > window {
				from++
			}
			if !stalled(at[from].Add(-window), at[i]) {
				most = max(most, i-from+1)
				counted++
			}
		}
		if most > sessions*4/5 {
			t.Errorf("%d of %d searched again within 100 ms", most, sessions)
		}
		return counted >= sessions/2
	})
	r.reattacher.onReattach(r.reattacher.dial)
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

// watchStalls notes when no goroutine gets to run in time, until the test ends.
// stalled reports whether that was so at a moment between from and to.
func watchStalls(t *testing.T) (stalled func(from, to time.Time) bool) {
	type stall struct{ from, to time.Time }
	var mu sync.Mutex
	var stalls []stall
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for last := time.Now(); ; {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			now := time.Now()
			if now.Sub(last) > 50*time.Millisecond {
				mu.Lock()
				stalls = append(stalls, stall{last, now})
				mu.Unlock()
			}
			last = now
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return func(from, to time.Time) bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.ContainsFunc(stalls, func(s stall) bool { return s.from.Before(to) && s.to.After(from) })
	}
}

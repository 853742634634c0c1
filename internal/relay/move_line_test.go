package relay_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// TestLine is apart from the suite, whose other tests would wait for it.
func TestLine(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name+"/loss", func(t *testing.T) { testLineLoss(t, e) })
		t.Run(e.name+"/drain", func(t *testing.T) { testLineDrain(t, e) })
	}
}

// throng opens n sessions and has the Mover hold up every search until the
// channel it returns is closed. most is how many there were at once.
func (r *rig) throng(n int) (clients, backends []*peer, release chan struct{}, most *atomic.Int64) {
	release, most = make(chan struct{}), new(atomic.Int64)
	var now atomic.Int64
	r.mover.use(func(near transport.Conn, m relay.Moving) (relay.Found, error) {
		defer now.Add(-1)
		if n := now.Add(1); n > most.Load() {
			most.Store(n) // good enough, since it only grows while all are held up
		}
		return r.mover.dialAndRead(near, m)
	})
	for range n {
		c, b := r.open()
		clients, backends = append(clients, c), append(backends, b)
	}
	return clients, backends, release, most
}

// answer has the station let in whoever comes.
func (s *station) answer(release chan struct{}) {
	go func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				<-release
				c.Write([]byte("x"))
				echo(c, 1)
			}()
		}
	}()
}

// lines is how many lines the engine has for its sessions.
func (e engine) lines() int { return map[string]int{"epoll": 2, "portable": 1}[e.name] }

// testLineLoss: of many sessions that lose their backend at once, so many look
// for another as may, and the others come after them.
func testLineLoss(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	at := relay.MaxSeeking * e.lines()
	sessions := at + 200
	clients, backends, release, most := r.throng(sessions)
	to.answer(release)
	for _, b := range backends {
		b.TCPConn.Close()
	}
	r.until("all know of it", func() bool { return r.mover.asks() == sessions })
	r.until("as many as may look for another", func() bool { return r.mover.asked() >= relay.MaxSeeking })
	// Two of those that wait hang up, at least one of each kind: it may be in
	// the line.
	clients[sessions-1].reset()
	clients[sessions-2].text("unheard")
	clients[sessions-2].TCPConn.CloseWrite()
	time.Sleep(200 * time.Millisecond)
	if n := int(most.Load()); n > at {
		t.Errorf("%d look for a backend at once, %d may", n, at)
	}
	close(release)
	moved, gone := 0, 0
	for range sessions {
		m := r.nextMove()
		switch {
		case m.err == nil && m.to == 8 && m.Why == session.Loss:
			moved++
		case errors.Is(m.err, relay.ErrMoveOver):
			gone++
		default:
			t.Errorf("a move ended with %v", m.err)
		}
	}
	if moved < sessions-2 || moved+gone != sessions {
		t.Errorf("%d were moved and %d given up, of %d", moved, gone, sessions)
	}
	if n := int(most.Load()); n > at || n < relay.MaxSeeking {
		t.Errorf("%d looked for a backend at once, %d may", n, at)
	}
	clients[0].text("after")
	clients[0].wantText("after")
}

// testLineDrain: those that an order gives a turn are not held before they have
// it, and those who have lost their backend go first.
func testLineDrain(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	at := relay.MaxSeeking * e.lines()
	sessions := at + 40
	clients, backends, release, _ := r.throng(sessions)
	to.answer(release)
	r.order(moveOnly(), sessions)
	r.until("all have had their turn", func() bool { return r.mover.asks() == sessions })
	begun := 0
	r.until("as many as may look for another", func() bool {
		before := begun
		time.Sleep(200 * time.Millisecond)
		begun = r.mover.asked()
		return begun >= relay.MaxSeeking && begun == before
	})
	if begun > at {
		t.Fatalf("%d look for a backend at once, %d may", begun, at)
	}
	// Who waits goes on with its backend.
	lost := -1
	goesOn := 0
	for i := range clients {
		clients[i].text("up")
	}
	time.Sleep(100 * time.Millisecond)
	for i, b := range backends {
		b.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
		if _, err := b.r.Peek(1); err == nil {
			b.wantText("up")
			lost = i
			goesOn++
		}
		b.SetReadDeadline(time.Now().Add(patience))
	}
	if goesOn != sessions-begun {
		t.Fatalf("%d sessions go on while they wait, want %d", goesOn, sessions-begun)
	}
	// One of them loses its backend, and is told of as that.
	backends[lost].TCPConn.Close()
	r.until("it is known", func() bool { return r.mover.asks() == sessions+1 })
	for _, b := range backends {
		go func() {
			if _, err := b.next(); err == nil { // our Close
				b.Write(b.frame(fin|opClose, "\x03\xf4"))
			}
		}()
	}
	close(release)
	losses := 0
	for range sessions {
		m := r.nextMove()
		if m.err != nil {
			t.Errorf("a move ended with %v", m.err)
		}
		if m.Why == session.Loss {
			losses++
		}
	}
	if losses != 1 {
		t.Errorf("%d were told of as lost", losses)
	}
}

// testLineTakenBack: an order that is taken back leaves alone who waits.
func testLineTakenBack(t *testing.T, e engine) {
	r, _ := newMoveRig(t, e, quick, relay.Limits{})
	r.mover.wait(func(relay.Moving) (time.Duration, error) { return time.Hour, nil })
	c, b := r.open()
	r.order(drain, 1)
	r.until("its turn has come", func() bool { return r.mover.asks() == 1 })
	through(c, b, "while it waits")
	r.order(relay.Order{Keep: true}, 1)
	if m := r.moved(session.Drain, 0, relay.ErrTakenBack); m.gap != 0 || m.Attempt != 0 {
		t.Errorf("%+v", m)
	}
	through(c, b, "after")
	r.finish(c, b)
}

// testLineTime: nobody waits for ever, held or not.
func testLineTime(t *testing.T, e engine) {
	r, _ := newMoveRig(t, e, quick, relay.Limits{})
	r.moveTimeout.Store(int64(300 * time.Millisecond))
	r.mover.wait(func(relay.Moving) (time.Duration, error) { return time.Hour, nil })
	c, b := r.open()
	r.order(moveOnly(), 1)
	r.moved(session.Rebalance, 0, relay.ErrMoveWaited)
	through(c, b, "it stays")
	r.order(drain, 1)
	r.moved(session.Drain, 0, relay.ErrMoveWaited)
	c.wantClose(1001)
	c.close(1001)
	b.wantClose(1001)
	b.TCPConn.Close()
	r.end(session.BackendDrained, 1001)

	c, b = r.open()
	b.TCPConn.Close()
	c.wantClose(1012)
	c.close(1012)
	r.moved(session.Loss, 0, relay.ErrMoveWaited)
	r.end(session.BackendLost, 1012)

	// What the Mover knows beforehand is told at once.
	r.moveTimeout.Store(int64(patience))
	r.mover.wait(func(relay.Moving) (time.Duration, error) { return 0, errNoOther })
	c, b = r.open()
	b.TCPConn.Close()
	c.wantClose(1012)
	c.close(1012)
	r.moved(session.Loss, 0, errNoOther)
	r.end(session.BackendLost, 1012)
	if n := r.mover.asked(); n != 0 {
		t.Errorf("another was asked for %d times", n)
	}
}

// testLineDelay: the Mover has a session wait, and is asked again after that.
func testLineDelay(t *testing.T, e engine) {
	const delay = 300 * time.Millisecond
	for _, lost := range []bool{false, true} {
		r, to := newMoveRig(t, e, quick, relay.Limits{})
		var first atomic.Int64
		r.mover.wait(func(relay.Moving) (time.Duration, error) {
			first.CompareAndSwap(0, time.Now().UnixNano())
			return time.Until(time.Unix(0, first.Load()).Add(delay)), nil
		})
		c, b := r.open()
		if lost {
			b.TCPConn.Close()
		} else {
			r.order(drain, 1)
		}
		b2 := to.accept()
		if d := time.Since(time.Unix(0, first.Load())); d < delay {
			t.Errorf("another was asked for after %v", d)
		}
		if !lost {
			b.bye()
		}
		m := r.nextMove()
		if m.err != nil || lost && m.gap < delay/2 { // it is held once the loss is known
			t.Errorf("lost %v: gap %v, %v", lost, m.gap, m.err)
		}
		through(c, b2, "after")
		r.finish(c, b2)
	}
}

// testLineEnds: a session that waits for its turn can end in any way.
func testLineEnds(t *testing.T, e engine) {
	for _, lost := range []bool{false, true} {
		for _, how := range []string{"client closes", "client lost", "backend lost", "shutdown", "abort"} {
			if lost && how == "backend lost" {
				continue
			}
			r, _ := newMoveRig(t, e, quick, relay.Limits{})
			r.onLoss.Store(lost)
			r.mover.wait(func(relay.Moving) (time.Duration, error) { return time.Hour, nil })
			c, b := r.open()
			if lost {
				b.TCPConn.Close()
			} else {
				r.order(moveOnly(), 1)
			}
			r.until("its turn has come", func() bool { return r.mover.asks() == 1 })
			cause := session.ClientLost
			switch how {
			case "client closes":
				if lost { // nothing of it is read
					c.TCPConn.CloseWrite()
				} else {
					cause = session.ClientClosed
					c.close(4000)
					b.wantClose(4000)
					b.close(4000)
					b.TCPConn.Close()
				}
			case "client lost":
				c.reset()
				if !lost {
					b.wantCut()
					b.TCPConn.Close()
				}
			case "backend lost":
				b.TCPConn.Close()
				cause = session.BackendLost
				c.wantClose(1012)
				c.close(1012)
			case "shutdown":
				r.engine.CloseSessions(shutdown)
				cause = session.Shutdown
				c.wantClose(1001)
				c.close(1001)
				b.TCPConn.Close()
			case "abort":
				r.engine.Abort(session.Shutdown)
				cause = session.Shutdown
			}
			if s := r.endAny(); s.Cause != cause {
				t.Errorf("%s, lost %v: ended with %s", how, lost, s.Cause)
			}
			if m := r.nextMove(); !errors.Is(m.err, relay.ErrMoveOver) {
				t.Errorf("%s, lost %v: the move ended with %v", how, lost, m.err)
			}
		}
	}
}

package relay_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// TestReattachQueue isn't part of the suite, so that the other tests don't wait for
// it.
func TestReattachQueue(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name+"/loss", func(t *testing.T) { testQueueLoss(t, e) })
		t.Run(e.name+"/drain", func(t *testing.T) { testQueueDrain(t, e) })
	}
}

// openMany opens n sessions and makes every search wait for the station, which
// answers when release is closed. most is the largest number of searches at once.
func (r *fixture) openMany(n int) (clients, backends []*peer, release chan struct{}, most *atomic.Int64) {
	release, most = make(chan struct{}), new(atomic.Int64)
	var now atomic.Int64
	r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
		defer now.Add(-1)
		if n := now.Add(1); n > most.Load() {
			most.Store(n) // not atomic with Load, but it only grows while all searches wait
		}
		return r.reattacher.dialAndRead(near, m)
	})
	for range n {
		c, b := r.open()
		clients, backends = append(clients, c), append(backends, b)
	}
	return clients, backends, release, most
}

// answer makes the station accept all connections.
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
func (e engine) queues() int { return map[string]int{"epoll": 2, "portable": 1}[e.name] }

// testQueueLoss: of many sessions that lose their backend at once, only the maximal
// number search at the same time, and then the others.
func testQueueLoss(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	at := relay.MaxConnecting * e.queues()
	sessions := at + 200
	clients, backends, release, most := r.openMany(sessions)
	to.answer(release)
	for _, b := range backends {
		b.TCPConn.Close()
	}
	r.until("all have called Reserve", func() bool { return r.reattacher.reserves() == sessions })
	r.until("as many search as may", func() bool { return r.reattacher.searches() >= relay.MaxConnecting })
	// Two clients of waiting sessions disconnect, one in each way. Their sessions may
	// be in the queue.
	clients[sessions-1].reset()
	clients[sessions-2].text("unheard")
	clients[sessions-2].TCPConn.CloseWrite()
	time.Sleep(200 * time.Millisecond)
	if n := int(most.Load()); n > at {
		t.Errorf("%d search at once, %d may", n, at)
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
	if n := int(most.Load()); n > at || n < relay.MaxConnecting {
		t.Errorf("%d searched at once, %d may", n, at)
	}
	clients[0].text("after")
	clients[0].wantText("after")
}

// testQueueDrain: the clients of sessions with a request to move aren't paused before
// their turn, and sessions that have lost their backend go first.
func testQueueDrain(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	at := relay.MaxConnecting * e.queues()
	sessions := at + 40
	clients, backends, release, _ := r.openMany(sessions)
	to.answer(release)
	r.request(moveOnly(), sessions)
	r.until("all have called Reserve", func() bool { return r.reattacher.reserves() == sessions })
	begun := 0
	r.until("as many search as may", func() bool {
		before := begun
		time.Sleep(200 * time.Millisecond)
		begun = r.reattacher.searches()
		return begun >= relay.MaxConnecting && begun == before
	})
	if begun > at {
		t.Fatalf("%d search at once, %d may", begun, at)
	}
	// A session that waits goes on with its backend.
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
	// One of them loses its backend. Then its move is for the loss.
	backends[lost].TCPConn.Close()
	r.until("it is known", func() bool { return r.reattacher.reserves() == sessions+1 })
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
		t.Errorf("%d moves were for a loss", losses)
	}
}

// testQueueCancelled: a cancelled request has no effect on sessions that wait.
func testQueueCancelled(t *testing.T, e engine) {
	r, _ := newMoveFixture(t, e, quick, relay.Limits{})
	r.reattacher.onReserve(func(relay.ReattachRequest) (time.Duration, error) { return time.Hour, nil })
	c, b := r.open()
	r.request(drain, 1)
	r.until("Reserve was called", func() bool { return r.reattacher.reserves() == 1 })
	through(c, b, "while it waits")
	r.request(relay.CancelRequest{}, 1)
	if m := r.moved(session.Drain, 0, relay.ErrTakenBack); m.gap != 0 || m.Attempt != 0 {
		t.Errorf("%+v", m)
	}
	through(c, b, "after")
	r.finish(c, b)
}

// testQueueTime: the wait has a limit, whether or not the client is paused.
func testQueueTime(t *testing.T, e engine) {
	r, _ := newMoveFixture(t, e, quick, relay.Limits{})
	r.moveTimeout.Store(int64(300 * time.Millisecond))
	r.reattacher.onReserve(func(relay.ReattachRequest) (time.Duration, error) { return time.Hour, nil })
	c, b := r.open()
	r.request(moveOnly(), 1)
	r.moved(session.Rebalance, 0, relay.ErrMoveWaited)
	through(c, b, "it stays")
	r.request(drain, 1)
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

	// An error of Reserve ends the move at once.
	r.moveTimeout.Store(int64(patience))
	r.reattacher.onReserve(func(relay.ReattachRequest) (time.Duration, error) { return 0, errNoOther })
	c, b = r.open()
	b.TCPConn.Close()
	c.wantClose(1012)
	c.close(1012)
	r.moved(session.Loss, 0, errNoOther)
	r.end(session.BackendLost, 1012)
	if n := r.reattacher.searches(); n != 0 {
		t.Errorf("%d searches", n)
	}
}

// testQueueDelay: Reserve returns a delay, and is called again after that.
func testQueueDelay(t *testing.T, e engine) {
	const delay = 300 * time.Millisecond
	for _, lost := range []bool{false, true} {
		r, to := newMoveFixture(t, e, quick, relay.Limits{})
		var first atomic.Int64
		r.reattacher.onReserve(func(relay.ReattachRequest) (time.Duration, error) {
			first.CompareAndSwap(0, time.Now().UnixNano())
			return time.Until(time.Unix(0, first.Load()).Add(delay)), nil
		})
		c, b := r.open()
		if lost {
			b.TCPConn.Close()
		} else {
			r.request(drain, 1)
		}
		b2 := to.accept()
		if d := time.Since(time.Unix(0, first.Load())); d < delay {
			t.Errorf("the search began after %v", d)
		}
		if !lost {
			b.answerClose()
		}
		m := r.nextMove()
		if m.err != nil || lost && m.gap < delay/2 { // its client is paused when the loss is known
			t.Errorf("lost %v: gap %v, %v", lost, m.gap, m.err)
		}
		through(c, b2, "after")
		r.finish(c, b2)
	}
}

// testQueueEnds: a session that waits in the queue can end in any way.
func testQueueEnds(t *testing.T, e engine) {
	for _, lost := range []bool{false, true} {
		for _, how := range []string{"client closes", "client lost", "backend lost", "shutdown", "abort"} {
			if lost && how == "backend lost" {
				continue
			}
			r, _ := newMoveFixture(t, e, quick, relay.Limits{})
			r.onLoss.Store(lost)
			r.reattacher.onReserve(func(relay.ReattachRequest) (time.Duration, error) { return time.Hour, nil })
			c, b := r.open()
			if lost {
				b.TCPConn.Close()
			} else {
				r.request(moveOnly(), 1)
			}
			r.until("Reserve was called", func() bool { return r.reattacher.reserves() == 1 })
			cause := session.ClientLost
			switch how {
			case "client closes":
				if lost { // the client isn't read
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

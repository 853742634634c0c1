package relay_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// onProbation returns a session that has just been moved to b2 and is on probation,
// which lasts longer than a test.
func (r *fixture) onProbation(to *station) (c, b2 *peer) {
	r.t.Helper()
	c, b := r.open()
	r.request(drain, 1)
	b2 = to.accept()
	b.answerClose()
	through(c, b2, "just moved")
	b.wantEnd()
	return c, b2
}

var probation = relay.Times{Linger: patience, Boundary: patience, Probation: patience}

// testProbation: a move is done when the new backend has kept the session for a
// while.
func testProbation(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience, Probation: time.Second}, relay.Limits{})
	began := time.Now() // before the probation, since the machine may be slow
	c, b2 := r.onProbation(to)
	select {
	case m := <-r.reattacher.done:
		if time.Since(began) < 500*time.Millisecond {
			t.Errorf("the move is done at once: %+v", m)
		}
		r.reattacher.done <- m
	case <-time.After(500 * time.Millisecond):
	}
	c.send(c.frame(opText, "over "))
	b2.want(opText, "over ")
	if m := r.moved(session.Drain, 8, nil); m.gap > 10*time.Second {
		t.Errorf("the gap is %v", m.gap)
	}
	c.send(c.frame(fin, "the end of it"))
	b2.want(fin, "the end of it")
	// After that, its Close has nothing to do with the move.
	b2.send(b2.frame(fin|opClose, "\x03\xf4restart"))
	c.want(fin|opClose, "\x03\xf4restart")
	c.close(1012)
	b2.TCPConn.Close()
	r.end(session.BackendClosed, 1012)
}

// testProbationRejected: if a backend doesn't keep the session, another one gets it.
func testProbationRejected(t *testing.T, e engine) {
	ends := map[string]func(*peer){"a bare end": func(p *peer) { p.TCPConn.Close() }, "a reset": func(p *peer) { p.reset() }}
	for _, code := range []uint16{0, 1001, 1002, 1011, 1012, 1013, 1014} {
		ends[fmt.Sprint(code)] = func(p *peer) {
			f := p.frame(fin|opClose, closeFrame(code, ""))
			p.send(f[:1])
			time.Sleep(5 * time.Millisecond)
			p.send(f[1:])
		}
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			r, to := newMoveFixture(t, e, probation, relay.Limits{})
			c, b2 := r.onProbation(to)
			third := r.station(9)
			r.reattacher.sendTo(third)
			b2.text("so long")
			c.wantText("so long")
			end(b2)
			b3 := third.accept()
			r.moved(session.Drain, 8, relay.ErrRejected)
			through(c, b3, "with the third")
			c.close(1000)
			b3.wantClose(1000)
			b3.close(1000)
			c.wantClose(1000)
			b3.TCPConn.Close()
			r.end(session.ClientClosed, 1000)
			r.moved(session.Loss, 9, nil)

			// Without OnLoss, the client gets a Close that makes it reconnect.
			r, to = newMoveFixture(t, e, probation, relay.Limits{})
			r.onLoss.Store(false)
			c, b2 = r.onProbation(to)
			end(b2)
			c.wantClose(1012)
			c.close(1012)
			b2.TCPConn.Close()
			r.moved(session.Drain, 8, relay.ErrRejected)
			if s := r.endAny(); s.Code != 1012 || s.Cause != session.BackendLost && s.Cause != session.ReattachFailed {
				t.Errorf("it ended with %+v", s)
			}
		})
	}
}

// testProbationVerdict: a Close with any other code is passed to the client.
func testProbationVerdict(t *testing.T, e engine) {
	for _, code := range []uint16{1000, 1003, 1007, 1008, 1009, 1010, 3000, 4001} {
		r, to := newMoveFixture(t, e, probation, relay.Limits{})
		c, b2 := r.onProbation(to)
		b2.send(b2.frame(fin|opClose, closeFrame(code, "no")))
		c.want(fin|opClose, closeFrame(code, "no"))
		c.close(code)
		b2.wantClose(code)
		b2.TCPConn.Close()
		r.moved(session.Drain, 8, relay.ErrRejected)
		r.end(session.BackendClosed, code)
	}
}

// testProbationEnds: if a session on probation ends for another reason, this isn't a
// rejection. Requests apply to it as to other sessions.
func testProbationEnds(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, probation, relay.Limits{})
	c, b2 := r.onProbation(to)
	r.finish(c, b2)
	r.moved(session.Drain, 8, nil)

	r, to = newMoveFixture(t, e, probation, relay.Limits{})
	c, b2 = r.onProbation(to)
	r.request(shutdown, 1)
	c.wantClose(1001)
	c.close(1001)
	b2.wantClose(1001)
	b2.TCPConn.Close()
	r.moved(session.Drain, 8, nil)
	r.end(session.Shutdown, 1001)

	// A drain of the new backend waits for the end of this move.
	r, to = newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience, Probation: 300 * time.Millisecond}, relay.Limits{})
	c, b2 = r.onProbation(to)
	third := r.station(9)
	r.reattacher.sendTo(third)
	r.request(moveOnly(), 1)
	b3 := third.accept()
	b2.answerClose()
	r.moved(session.Drain, 8, nil)
	r.moved(session.Rebalance, 9, nil)
	through(c, b3, "after")
	r.finish(c, b3)
}

// testProbationForever: if all backends accept the session and close it at once, it
// searches again with pauses, but not longer than a move may take.
func testProbationForever(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, probation, relay.Limits{})
	r.moveTimeout.Store(int64(2 * time.Second))
	c, b2 := r.onProbation(to)
	go func() {
		for {
			p, err := to.Accept()
			if err != nil {
				return
			}
			p.Close()
		}
	}()
	b2.TCPConn.Close()
	c.wantClose(1012)
	c.close(1012)
	r.end(session.BackendLost, 1012)
	if n := r.reattacher.searches(); n < 2 || n > 2+1+16 { // the least pause is an eighth of a second
		t.Errorf("it was moved %d times", n)
	}
	for range r.reattacher.searches() {
		if m := r.nextMove(); m.err == nil || !errors.Is(m.err, relay.ErrRejected) && m.to != 0 {
			t.Errorf("a move ended with %+v", m)
		}
	}
}

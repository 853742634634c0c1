package relay_test

import (
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// losses are the ways in which a backend can be lost without a Close.
var losses = map[string]func(*peer){
	"EOF": func(b *peer) { b.TCPConn.Close() },
	"RST": func(b *peer) { b.reset() },
}

// testLoss: a session survives the loss of its backend, and the client gets
// everything that the backend had sent.
func testLoss(t *testing.T, e engine) {
	for name, lose := range losses {
		r, to := newMoveFixture(t, e, quick, relay.Limits{})
		c, b := r.open()
		through(c, b, "before")
		b.text("last words")
		time.Sleep(20 * time.Millisecond) // an RST may overtake them in the kernel
		lose(b)
		b2 := to.accept()
		c.wantText("last words")
		through(c, b2, "after "+name)
		m := r.moved(session.Loss, 8, nil)
		if m.gap > 5*time.Second || m.Info.Backend != 7 {
			t.Errorf("%s: %+v", name, m)
		}
		// And again, to a third.
		b2.text("last words")
		time.Sleep(20 * time.Millisecond)
		third := r.station(9)
		r.reattacher.sendTo(third)
		lose(b2)
		b3 := third.accept()
		c.wantText("last words")
		if m := r.moved(session.Loss, 9, nil); m.Attempt != 2 || m.Info.Backend != 8 {
			t.Errorf("%s: %+v", name, m)
		}
		through(c, b3, "after")
		r.finish(c, b3)
	}
}

// testLossUnwanted: if sessions are moved only on drain, they end with their
// backend.
func testLossUnwanted(t *testing.T, e engine) {
	for _, lose := range losses {
		r, _ := newMoveFixture(t, e, quick, relay.Limits{})
		r.onLoss.Store(false)
		c, b := r.open()
		lose(b)
		c.want(fin|opClose, "\x03\xf4server lost")
		c.close(1012)
		r.end(session.BackendLost, 1012)
		if n := r.reattacher.searches(); n != 0 {
			t.Errorf("%d searches", n)
		}
	}
}

// testLossRefused: a session has lost its backend and there is no other.
func testLossRefused(t *testing.T, e engine) {
	r, _ := newMoveFixture(t, e, quick, relay.Limits{})
	r.reattacher.onReattach(refuse)
	c, b := r.open()
	b.reset()
	c.want(fin|opClose, "\x03\xf4server lost")
	r.moved(session.Loss, 0, errNoOther)
	c.text("unheard")
	c.close(1012)
	r.end(session.BackendLost, 1012)
	c.wantEnd()
}

// testLossSilence: a backend that sends nothing, not even a pong.
func testLossSilence(t *testing.T, e engine) {
	limits := relay.Limits{KeepaliveInterval: 300 * time.Millisecond, KeepaliveTimeout: 1500 * time.Millisecond}
	r, to := newMoveFixture(t, e, quick, limits)
	c, b := r.open()
	texts := make(chan string, 10)
	c.answer(func(g got) { texts <- g.payload })
	b2 := to.accept()
	b2.text("hello")
	if s := <-texts; s != "hello" {
		t.Errorf("the client got %q", s)
	}
	r.moved(session.Loss, 8, nil)
	b.wantPing() // to the old backend
	b2.wantPing()
	r.reattacher.onReattach(refuse)
	r.moved(session.Loss, 0, errNoOther)
	r.end(session.BackendSilent, 1012)
}

// testLossInMessage: no other backend can finish a message of the lost one.
func testLossInMessage(t *testing.T, e engine) {
	for _, lose := range losses {
		r, _ := newMoveFixture(t, e, quick, relay.Limits{})
		c, b := r.open()
		b.send(b.frame(opText, "one "))
		c.want(opText, "one ")
		lose(b)
		c.wantClose(1012)
		c.close(1012)
		r.end(session.BackendLost, 1012)
		r.moved(session.Loss, 0, relay.ErrMessageCut)
		if n := r.reattacher.searches(); n != 0 {
			t.Errorf("%d searches", n)
		}
	}
}

// testLossInClientMessage: the rest of a message whose beginning went to the lost
// backend is thrown away. Later messages go to the new one.
func testLossInClientMessage(t *testing.T, e engine) {
	for _, early := range []bool{true, false} { // the client ends it before or after another backend is found
		r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
		release := make(chan struct{})
		r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
			f, err := r.reattacher.dial(near, m)
			if err == nil && early {
				_, err = f.Conn.Read(make([]byte, 1))
			}
			return f, err
		})
		c, b := r.open()
		c.send(c.frame(opText, "one "))
		b.want(opText, "one ")
		b.reset()
		b2 := to.accept()
		if !early {
			time.Sleep(50 * time.Millisecond)
		}
		f := c.frame(0, "two ")
		c.send(f[:3])
		time.Sleep(20 * time.Millisecond)
		c.send(f[3:], c.frame(fin|opPing, "lost too"), c.frame(fin, "three"), c.frame(fin|opText, "whole"))
		if early {
			b2.quiet(50 * time.Millisecond)
			b2.send([]byte("x"))
		}
		b2.wantText("whole")
		r.moved(session.Loss, 8, nil)
		close(release)
		through(c, b2, "after")
		r.finish(c, b2)
	}
	// It never ends its message.
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	c.send(c.frame(opText, "one "))
	b.want(opText, "one ")
	b.TCPConn.Close()
	b2 := to.accept()
	c.wantClose(1012)
	b2.wantCut()
	r.moved(session.Loss, 8, relay.ErrNoBoundary)
	c.close(1012)
	r.end(session.BackendLost, 1012)
}

// testLossCloseInMessage: a client closes between two fragments while there is no
// backend. It gets an answer.
func testLossCloseInMessage(t *testing.T, e engine) {
	r, _ := newMoveFixture(t, e, quick, relay.Limits{})
	r.reattacher.onReattach(r.reattacher.hang)
	c, b := r.open()
	c.send(c.frame(opText, "one "))
	b.want(opText, "one ")
	b.TCPConn.Close()
	r.until("the search has begun", func() bool { return r.reattacher.searches() == 1 })
	c.close(4000)
	c.wantClose(4000)
	c.wantEnd()
	r.end(session.ClientClosed, 4000)
	r.moved(session.Loss, 0, relay.ErrMoveOver)
}

// testMoveClientGoes: the client closes or is lost in each phase of a move.
func testMoveClientGoes(t *testing.T, e engine) {
	for _, how := range []string{"close", "EOF", "RST"} {
		for _, when := range []string{"paused", "leaving"} {
			r, to := newMoveFixture(t, e, quick, relay.Limits{})
			if when == "paused" {
				r.reattacher.onReattach(r.reattacher.hang)
				r.moveTimeout.Store(int64(time.Second))
			}
			c, b := r.open()
			r.request(moveOnly(), 1)
			b2 := to.accept()
			if when == "leaving" {
				b.want(fin|opClose, "\x03\xf4session moved")
			}
			if how == "RST" {
				c.reset()
			} else {
				c.text("last words")
				c.close(4000)
				if how == "EOF" {
					c.TCPConn.CloseWrite()
				}
			}
			switch {
			case when == "paused":
				// Given up, or timed out if it couldn't be noticed.
				if how != "RST" {
					b.wantText("last words")
					b.wantClose(4000)
					b.close(4000)
				}
				if how != "RST" {
					b.TCPConn.Close()
				}
				if m := r.nextMove(); m.err == nil {
					t.Errorf("%s: moved", how)
				}
				b.TCPConn.Close()
				b2.wantCut()
			case how == "RST":
				b.TCPConn.Close()
				b2.wantCut()
			default:
				b.close(1012)
				b2.wantText("last words")
				b2.wantClose(4000)
				b2.close(4000)
				b2.TCPConn.Close()
			}
			s := r.endAny()
			want := session.ClientClosed
			if how == "RST" {
				want = session.ClientLost
			}
			if s.Cause != want {
				t.Errorf("%s while %s: ended with %s", how, when, s.Cause)
			}
		}
	}
}

package relay_test

import (
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// losses are the ways a backend goes without a word.
var losses = map[string]func(*peer){
	"EOF": func(b *peer) { b.TCPConn.Close() },
	"RST": func(b *peer) { b.reset() },
}

// testLoss: a session outlives its backend, and gets all that that had said.
func testLoss(t *testing.T, e engine) {
	for name, lose := range losses {
		r, to := newMoveRig(t, e, quick, relay.Limits{})
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
		// And once more, to a third.
		b2.text("last words")
		time.Sleep(20 * time.Millisecond)
		third := r.station(9)
		r.mover.sendTo(third)
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

// testLossUnwanted: a pool that moves on drain alone loses its sessions with
// their backend.
func testLossUnwanted(t *testing.T, e engine) {
	for _, lose := range losses {
		r, _ := newMoveRig(t, e, quick, relay.Limits{})
		r.onLoss.Store(false)
		c, b := r.open()
		lose(b)
		c.want(fin|opClose, "\x03\xf4server lost")
		c.close(1012)
		r.end(session.BackendLost, 1012)
		if n := r.mover.asked(); n != 0 {
			t.Errorf("it was asked for another %d times", n)
		}
	}
}

// testLossRefused: no other backend for a session that has lost its own.
func testLossRefused(t *testing.T, e engine) {
	r, _ := newMoveRig(t, e, quick, relay.Limits{})
	r.mover.use(refuse)
	c, b := r.open()
	b.reset()
	c.want(fin|opClose, "\x03\xf4server lost")
	r.moved(session.Loss, 0, errNoOther)
	c.text("unheard")
	c.close(1012)
	r.end(session.BackendLost, 1012)
	c.wantEnd()
}

// testLossSilence: a backend that says nothing, not even a pong.
func testLossSilence(t *testing.T, e engine) {
	limits := relay.Limits{KeepaliveInterval: 300 * time.Millisecond, KeepaliveTimeout: 1500 * time.Millisecond}
	r, to := newMoveRig(t, e, quick, limits)
	c, b := r.open()
	texts := make(chan string, 10)
	c.answer(func(g got) { texts <- g.payload })
	b2 := to.accept()
	b2.text("hello")
	if s := <-texts; s != "hello" {
		t.Errorf("the client got %q", s)
	}
	r.moved(session.Loss, 8, nil)
	b.wantPing() // of the old
	b2.wantPing()
	r.mover.use(refuse)
	r.moved(session.Loss, 0, errNoOther)
	r.end(session.BackendSilent, 1012)
}

// testLossInMessage: what the lost backend had not said to its end nobody can.
func testLossInMessage(t *testing.T, e engine) {
	for _, lose := range losses {
		r, _ := newMoveRig(t, e, quick, relay.Limits{})
		c, b := r.open()
		b.send(b.frame(opText, "one "))
		c.want(opText, "one ")
		lose(b)
		c.wantClose(1012)
		c.close(1012)
		r.end(session.BackendLost, 1012)
		r.moved(session.Loss, 0, relay.ErrMessageCut)
		if n := r.mover.asked(); n != 0 {
			t.Errorf("it was asked for another %d times", n)
		}
	}
}

// testLossInClientMessage: the rest of a message that had begun to go to the
// lost backend goes nowhere, and what comes behind it to the new one.
func testLossInClientMessage(t *testing.T, e engine) {
	for _, early := range []bool{true, false} { // the client ends it before another backend is found, or after
		r, to := newMoveRig(t, e, quick, relay.Limits{})
		release := make(chan struct{})
		r.mover.use(func(near transport.Conn, m relay.Moving) (relay.Found, error) {
			f, err := r.mover.dial(near, m)
			if err == nil && early {
				_, err = f.Backend.Read(make([]byte, 1))
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
	// It never ends it.
	r, to := newMoveRig(t, e, quick, relay.Limits{})
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

// testLossCloseInMessage: a client may close between two fragments, and is
// answered by whoever is there.
func testLossCloseInMessage(t *testing.T, e engine) {
	r, _ := newMoveRig(t, e, quick, relay.Limits{})
	r.mover.use(r.mover.hang)
	c, b := r.open()
	c.send(c.frame(opText, "one "))
	b.want(opText, "one ")
	b.TCPConn.Close()
	r.until("it is asked for", func() bool { return r.mover.asked() == 1 })
	c.close(4000)
	c.wantClose(4000)
	c.wantEnd()
	r.end(session.ClientClosed, 4000)
	r.moved(session.Loss, 0, relay.ErrMoveOver)
}

// testMoveClientGoes: the client closes or vanishes in each phase of a move.
func testMoveClientGoes(t *testing.T, e engine) {
	for _, how := range []string{"close", "EOF", "RST"} {
		for _, when := range []string{"held", "leaving"} {
			r, to := newMoveRig(t, e, quick, relay.Limits{})
			if when == "held" {
				r.mover.use(r.mover.hang)
				r.moveTimeout.Store(int64(time.Second))
			}
			c, b := r.open()
			r.order(moveOnly(), 1)
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
			case when == "held":
				// Given up, or timed out where nobody could see it.
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

package relay_test

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// testMove: what a move is, from the outside.
func testMove(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	r.mover.use(func(near transport.Conn, m relay.Moving) (relay.Found, error) {
		if m.Info.Backend != 7 || m.Info.Route != 9 || m.Why != session.Drain || m.Attempt != 1 {
			t.Errorf("Reattach is told %+v", m)
		}
		if d := time.Until(m.Deadline); d < patience-time.Second || d > patience+time.Second {
			t.Errorf("its deadline is in %v", d)
		}
		f, err := r.mover.dial(near, m)
		if err != nil {
			return f, err
		}
		// A handshake: the new backend's answer is waited for.
		buf := make([]byte, 3)
		f.Backend.SetDeadline(m.Deadline)
		if _, err = io.ReadFull(f.Backend, buf); err == nil {
			f.Early = buf[2:] // of a message
		}
		return f, err
	})
	c, b := r.open()
	through(c, b, "before")
	r.order(drain, 1)
	b2 := to.accept()
	c.text("held") // not for the old one
	b.text("while held")
	c.wantText("while held")
	c.quiet(50 * time.Millisecond)
	hello := b2.frame(fin|opText, "hello")
	b2.send([]byte("OK"), hello[:3])
	b.want(fin|opClose, "\x03\xf4session moved")
	b.text("last words")
	c.wantText("last words")
	b2.send(hello[3:])
	c.quiet(50 * time.Millisecond) // the old one has not ended
	b2.quiet(50 * time.Millisecond)
	b.close(1012)
	c.wantText("hello")
	b2.wantText("held")
	b.wantEnd()
	if m := r.moved(session.Drain, 8, nil); m.gap < 150*time.Millisecond || m.gap > patience {
		t.Errorf("the gap is %v", m.gap)
	}
	through(c, b2, "after")
	s := r.onlySession()
	// Swallowed frames are not counted: the old backend's Close.
	if want := uint64(5*2 + len("down beforewhile heldlast wordshellodown after")); s.Backend != 8 ||
		s.From[0].Messages != 3 || s.From[1] != (session.Traffic{Messages: 5, Bytes: want}) {
		t.Errorf("%+v, want %d bytes", s, want)
	}
	r.finish(c, b2)
}

// testMoveClientInMessage: the turn comes inside a message of the client's.
func testMoveClientInMessage(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	c, b := r.open()
	c.send(c.frame(opText, "one "))
	b.want(opText, "one ")
	r.order(drain, 1)
	b.quiet(100 * time.Millisecond)
	c.send(c.frame(fin|opPing, "p"), c.frame(0, "two "))
	b.want(fin|opPing, "p")
	b.want(0, "two ")
	b.send(b.frame(fin|opPong, "p"))
	c.want(fin|opPong, "p")
	f := c.frame(fin, "three")
	c.send(f[:4])
	time.Sleep(20 * time.Millisecond)
	c.send(f[4:], c.frame(fin|opText, "next"), c.frame(opText, "and "))
	b.want(fin, "three")
	b2 := to.accept()
	b.bye()
	b2.wantText("next")
	b2.want(opText, "and ")
	c.send(c.frame(fin, "more"))
	b2.want(fin, "more")
	r.moved(session.Drain, 8, nil)
	through(c, b2, "after")
	r.finish(c, b2)
}

// testMoveBackendInMessage: the turn comes inside a message of the old
// backend's, which it ends after our Close.
func testMoveBackendInMessage(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	c, b := r.open()
	b.send(b.frame(opText, "one "))
	c.want(opText, "one ")
	r.order(drain, 1)
	b2 := to.accept()
	b2.text("new")
	b.want(fin|opClose, "\x03\xf4session moved")
	f := b.frame(fin, "two")
	b.send(f[:3])
	time.Sleep(20 * time.Millisecond)
	b.send(f[3:], b.frame(fin|opPing, ""), b.frame(fin|opText, "three"), b.frame(fin|opClose, ""))
	c.want(fin, "two")
	c.want(fin|opPing, "")
	c.wantText("three")
	c.wantText("new")
	r.moved(session.Drain, 8, nil)
	r.finish(c, b2)
}

// testMoveNoBoundary: a client that does not end its message isn't moved.
func testMoveNoBoundary(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	c, b := r.open()
	c.send(c.frame(opText, "never "))
	b.want(opText, "never ")
	r.order(moveOnly(), 1)
	if m := r.moved(session.Rebalance, 0, relay.ErrNoBoundary); m.gap != 0 || m.Attempt != 0 {
		t.Errorf("it was held: %+v", m)
	}
	c.send(c.frame(fin, "ends"))
	b.want(fin, "ends")
	through(c, b, "goes on")
	// With an order to close, it is closed; that Close waits for the backend's
	// messages alone.
	c.send(c.frame(opText, "never "))
	b.want(opText, "never ")
	r.order(drain, 1)
	r.moved(session.Drain, 0, relay.ErrNoBoundary)
	c.wantClose(1001)
	c.send(c.frame(fin, "ends"))
	b.want(fin, "ends")
	c.close(1001)
	b.wantClose(1001)
	b.TCPConn.Close()
	c.wantEnd()
	r.end(session.BackendDrained, 1001)
	to.SetDeadline(time.Now())
	if _, err := to.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("somebody came to the new backend: %v", err)
	}
}

// testMoveRefused: without another backend it goes on with the old one, or is
// closed as the order says; nothing is lost.
func testMoveRefused(t *testing.T, e engine) {
	r, _ := newMoveRig(t, e, quick, relay.Limits{})
	release := make(chan struct{})
	r.mover.use(func(near transport.Conn, m relay.Moving) (relay.Found, error) {
		f, err := r.mover.hang(near, m)
		return f, errors.Join(errNoOther, err)
	})
	to := r.mover.to
	c, b := r.open()
	go func() { // the new backend takes its time
		p := to.accept()
		<-release
		p.text("no")
	}()
	r.order(moveOnly(), 1)
	r.until("it is asked for", func() bool { return r.mover.asked() == 1 })
	c.send(c.frame(fin|opText, "kept 1"), c.frame(opText, "kept 2"))
	b.quiet(100 * time.Millisecond)
	b.text("meanwhile")
	c.wantText("meanwhile")
	close(release)
	if m := r.moved(session.Rebalance, 0, errNoOther); m.gap < 100*time.Millisecond || m.Attempt != 1 {
		t.Errorf("gap %v, attempt %d", m.gap, m.Attempt)
	}
	b.wantText("kept 1")
	b.want(opText, "kept 2")
	c.send(c.frame(fin, "!"))
	b.want(fin, "!")
	through(c, b, "goes on")

	r.mover.use(refuse)
	r.order(drain, 1)
	if m := r.moved(session.Drain, 0, errNoOther); m.Attempt != 2 {
		t.Errorf("attempt %d, want 2", m.Attempt)
	}
	c.wantClose(1001)
	c.text("before")
	b.wantText("before")
	c.close(1001)
	b.wantClose(1001)
	b.TCPConn.Close()
	c.wantEnd()
	r.end(session.BackendDrained, 1001)
}

// testMoveTimeout: Reattach does not come back.
func testMoveTimeout(t *testing.T, e engine) {
	r, _ := newMoveRig(t, e, quick, relay.Limits{})
	r.moveTimeout.Store(int64(300 * time.Millisecond))
	r.mover.use(r.mover.hang) // has no deadline
	c, b := r.open()
	began := time.Now()
	r.order(moveOnly(), 1)
	r.until("it is asked for", func() bool { return r.mover.asked() == 1 })
	c.text("kept")
	r.moved(session.Rebalance, 0, relay.ErrMoveTimeout)
	if d := time.Since(began); d < 200*time.Millisecond || d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	b.wantText("kept")
	through(c, b, "goes on")
	r.finish(c, b)
}

// testMovePanics: a Mover that panics costs the move, and no more.
func testMovePanics(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	r.mover.use(func(near transport.Conn, m relay.Moving) (relay.Found, error) {
		if _, err := r.mover.dial(near, m); err != nil {
			t.Error(err)
		}
		panic("a bug")
	})
	c, b := r.open()
	r.mayLog.Store(true)
	r.order(moveOnly(), 1)
	if m := r.nextMove(); m.err == nil || m.to != 0 {
		t.Errorf("it ended with %+v", m)
	}
	if r.logs.Load() != 1 {
		t.Errorf("%d entries in the log", r.logs.Load())
	}
	r.mayLog.Store(false)
	to.accept().wantCut()
	through(c, b, "goes on")
	r.finish(c, b)
}

// testMoveSilentOld: the old backend does not answer our Close.
func testMoveSilentOld(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	c, b := r.open()
	r.order(drain, 1)
	b2 := to.accept()
	b.want(fin|opClose, "\x03\xf4session moved")
	c.text("kept")
	b2.wantText("kept")
	if m := r.moved(session.Drain, 8, nil); m.gap < quick.Linger/2 {
		t.Errorf("gap %v", m.gap)
	}
	b.wantEnd()
	through(c, b2, "after")
	r.finish(c, b2)
}

// testMoveOldCut: the old backend goes inside a message to the client.
func testMoveOldCut(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	for _, how := range []string{"between fragments", "inside a frame", "with a Close between fragments"} {
		c, b := r.open()
		inFrame := how == "inside a frame"
		if inFrame {
			b.send(b.frame(fin|opText, "abcdefgh")[:6])
			if _, err := io.ReadFull(c.r, make([]byte, 6)); err != nil {
				t.Fatal(err)
			}
		} else {
			b.send(b.frame(opText, "one "))
			c.want(opText, "one ")
		}
		r.order(drain, 1)
		to.accept()
		b.want(fin|opClose, "\x03\xf4session moved")
		if how == "with a Close between fragments" {
			b.close(1012)
		} else {
			b.TCPConn.Close()
		}
		code := uint16(1012)
		if inFrame {
			c.wantCut()
			code = 0
		} else {
			c.wantClose(1012)
			c.close(1012)
		}
		r.moved(session.Drain, 8, relay.ErrMessageCut)
		r.end(session.ReattachFailed, code)
	}
}

// testMoveOldCloses: what the old backend's own Close means while another is
// looked for depends on its code.
func testMoveOldCloses(t *testing.T, e engine) {
	for _, cut := range []int{0, 1, 2, 3} { // the frame comes in pieces
		r, to := newMoveRig(t, e, quick, relay.Limits{})
		r.mover.use(r.mover.dialAndRead)
		begin := func() (c, b, b2 *peer) {
			c, b = r.open()
			r.order(drain, 1)
			return c, b, to.accept()
		}
		say := func(b *peer, f []byte) {
			if cut > 0 {
				b.send(f[:cut])
				time.Sleep(20 * time.Millisecond)
			}
			b.send(f[cut:])
		}
		// It makes room, as it was to: it is answered, and the move goes on.
		c, b, b2 := begin()
		b.text("bye")
		say(b, b.frame(fin|opClose, "\x03\xe9so long"))
		c.wantText("bye")
		b.wantClose(1012)
		c.quiet(20 * time.Millisecond)
		b2.send([]byte("x"))
		r.moved(session.Drain, 8, nil)
		through(c, b2, "after")
		r.finish(c, b2)
		// It has a word for the client.
		c, b, b2 = begin()
		c.text("unheard")
		say(b, b.frame(fin|opClose, "\x0f\xa1kicked"))
		c.want(fin|opClose, "\x0f\xa1kicked")
		r.moved(session.Drain, 0, relay.ErrMoveOver)
		c.close(4001)
		b.wantText("unheard")
		b.wantClose(4001)
		b.TCPConn.Close()
		r.end(session.BackendClosed, 4001)
		b2.wantCut()
		// It begins to close when the move is given up.
		if cut == 0 {
			continue
		}
		c, b, b2 = begin()
		b.send(b.frame(fin|opClose, "\x03\xe9so long")[:cut])
		time.Sleep(20 * time.Millisecond)
		b2.TCPConn.Close()
		if m := r.nextMove(); m.err == nil {
			t.Error("moved to a backend that closed")
		}
		b.send(b.frame(fin|opClose, "\x03\xe9so long")[cut:])
		c.wantClose(1001)
		c.close(1001)
		b.wantClose(1001)
		b.TCPConn.Close()
		r.endAny()
	}
}

// testMoveOldStuck: an old backend that does not take what its client has said
// is not left before it has.
func testMoveOldStuck(t *testing.T, e engine) {
	r, to := newMoveRig(t, e, quick, relay.Limits{})
	c, b := r.open()
	b.SetReadBuffer(128 << 10)
	c.SetWriteBuffer(64 << 10)
	f := c.frame(fin|2, string(make([]byte, 60_000)))
	go func() {
		for range 300 {
			c.send(f)
		}
	}()
	last := uint64(0)
	r.until("it takes no more", func() bool {
		before := last
		time.Sleep(200 * time.Millisecond)
		last = r.onlySession().From[session.Client].Bytes
		return last > 0 && last == before
	})
	r.order(moveOnly(), 1)
	r.moved(session.Rebalance, 0, relay.ErrNoBoundary)
	if n := r.mover.asked(); n != 0 {
		t.Errorf("it was asked for another %d times", n)
	}
	for i := range 300 {
		if g, err := b.next(); err != nil || len(g.payload) != 60_000 {
			t.Fatalf("message %d: %v, %d bytes", i, err, len(g.payload))
		}
	}
	r.order(moveOnly(), 1)
	b2 := to.accept()
	b.bye()
	r.moved(session.Rebalance, 8, nil)
	through(c, b2, "after")
	r.finish(c, b2)
}

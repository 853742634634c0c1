package relay_test

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// testMove: a move as its peers see it.
func testMove(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
		if m.Info.Backend != 7 || m.Info.Route != 9 || m.Why != session.Drain || m.Attempt != 1 {
			t.Errorf("Reattach is told %+v", m)
		}
		if d := time.Until(m.Deadline); d < patience/2 || d > patience+time.Second {
			t.Errorf("its deadline is in %v", d)
		}
		f, err := r.reattacher.dial(near, m)
		if err != nil {
			return f, err
		}
		// The handshake waits for the new backend's answer.
		buf := make([]byte, 3)
		f.Conn.SetDeadline(m.Deadline)
		if _, err = io.ReadFull(f.Conn, buf); err == nil {
			f.Early = buf[2:] // the beginning of a message
		}
		return f, err
	})
	c, b := r.open()
	through(c, b, "before")
	r.request(drain, 1)
	b2 := to.accept()
	c.text("held") // goes to the new backend
	b.text("while held")
	c.wantText("while held")
	c.quiet(50 * time.Millisecond)
	hello := b2.frame(fin|opText, "hello")
	b2.send([]byte("OK"), hello[:3])
	b.want(fin|opClose, "\x03\xf4session moved")
	b.text("last words")
	c.wantText("last words")
	b2.send(hello[3:])
	c.quiet(50 * time.Millisecond) // the old backend has not ended
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
	// The old backend's Close wasn't passed on and isn't counted.
	if want := uint64(5*2 + len("down beforewhile heldlast wordshellodown after")); s.Backend != 8 ||
		s.From[0].Messages != 3 || s.From[1] != (session.Traffic{Messages: 5, Bytes: want}) {
		t.Errorf("%+v, want %d bytes", s, want)
	}
	r.finish(c, b2)
}

// testMoveClientInMessage: the session's turn comes inside a message of the client.
func testMoveClientInMessage(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	c, b := r.open()
	c.send(c.frame(opText, "one "))
	b.want(opText, "one ")
	r.request(drain, 1)
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
	b.answerClose()
	b2.wantText("next")
	b2.want(opText, "and ")
	c.send(c.frame(fin, "more"))
	b2.want(fin, "more")
	r.moved(session.Drain, 8, nil)
	through(c, b2, "after")
	r.finish(c, b2)
}

// testMoveBackendInMessage: the session's turn comes inside a message of the old
// backend, which ends it after our Close.
func testMoveBackendInMessage(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	c, b := r.open()
	b.send(b.frame(opText, "one "))
	c.want(opText, "one ")
	r.request(drain, 1)
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

// testMoveNoBoundary: a client that doesn't end its message isn't moved.
func testMoveNoBoundary(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	c.send(c.frame(opText, "never "))
	b.want(opText, "never ")
	r.request(moveOnly(), 1)
	if m := r.moved(session.Rebalance, 0, relay.ErrNoBoundary); m.gap != 0 || m.Attempt != 0 {
		t.Errorf("it was paused: %+v", m)
	}
	c.send(c.frame(fin, "ends"))
	b.want(fin, "ends")
	through(c, b, "goes on")
	// If the request says so, it is closed. That Close waits only for the
	// backend's messages.
	c.send(c.frame(opText, "never "))
	b.want(opText, "never ")
	r.request(drain, 1)
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

// testMoveRefused: without another backend the session goes on with the old one, or
// is closed if the request says so. Nothing is lost.
func testMoveRefused(t *testing.T, e engine) {
	r, _ := newMoveFixture(t, e, quick, relay.Limits{})
	release := make(chan struct{})
	r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
		f, err := r.reattacher.hang(near, m)
		return f, errors.Join(errNoOther, err)
	})
	to := r.reattacher.to
	c, b := r.open()
	go func() { // the new backend refuses late
		p := to.accept()
		<-release
		p.text("no")
	}()
	r.request(moveOnly(), 1)
	r.until("the search has begun", func() bool { return r.reattacher.searches() == 1 })
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

	r.reattacher.onReattach(refuse)
	r.request(drain, 1)
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

// testMoveTimeout: Reattach doesn't return.
func testMoveTimeout(t *testing.T, e engine) {
	r, _ := newMoveFixture(t, e, quick, relay.Limits{})
	r.moveTimeout.Store(int64(300 * time.Millisecond))
	r.reattacher.onReattach(r.reattacher.hang) // has no deadline
	c, b := r.open()
	began := time.Now()
	r.request(moveOnly(), 1)
	r.until("the search has begun", func() bool { return r.reattacher.searches() == 1 })
	c.text("kept")
	r.moved(session.Rebalance, 0, relay.ErrMoveTimeout)
	if d := time.Since(began); d < 200*time.Millisecond || d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	b.wantText("kept")
	through(c, b, "goes on")
	r.finish(c, b)
}

// testMovePanics: if the Reattacher panics, only the move fails.
func testMovePanics(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
		if _, err := r.reattacher.dial(near, m); err != nil {
			t.Error(err)
		}
		panic("a bug")
	})
	c, b := r.open()
	r.mayLog.Store(true)
	r.request(moveOnly(), 1)
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

// testMoveSilentOld: the old backend doesn't answer our Close.
func testMoveSilentOld(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	r.request(drain, 1)
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

// testMoveOldCut: the old backend is lost inside a message to the client.
func testMoveOldCut(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
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
		r.request(drain, 1)
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

// testMoveOldCloses: the meaning of the old backend's own Close during the search
// depends on its code.
func testMoveOldCloses(t *testing.T, e engine) {
	for _, cut := range []int{0, 1, 2, 3} { // the frame comes in pieces
		r, to := newMoveFixture(t, e, quick, relay.Limits{})
		r.reattacher.onReattach(r.reattacher.dialAndRead)
		begin := func() (c, b, b2 *peer) {
			c, b = r.open()
			r.request(drain, 1)
			return c, b, to.accept()
		}
		say := func(b *peer, f []byte) {
			if cut > 0 {
				b.send(f[:cut])
				time.Sleep(20 * time.Millisecond)
			}
			b.send(f[cut:])
		}
		// It agrees to the move: its Close is answered, and the move goes on.
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
		// The Close is for the client.
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
		// Its Close has only begun when the move is given up.
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

// testMoveOldStuck: a session doesn't leave a backend that has not taken everything
// that the client sent.
func testMoveOldStuck(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
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
		time.Sleep(time.Second) // on a slow machine it may pause for less
		last = r.onlySession().From[session.Client].Bytes
		return last > 0 && last == before
	})
	r.request(moveOnly(), 1)
	r.moved(session.Rebalance, 0, relay.ErrNoBoundary)
	if n := r.reattacher.searches(); n != 0 {
		t.Errorf("%d searches", n)
	}
	for i := range 300 {
		if g, err := b.next(); err != nil || len(g.payload) != 60_000 {
			t.Fatalf("message %d: %v, %d bytes", i, err, len(g.payload))
		}
	}
	r.request(moveOnly(), 1)
	b2 := to.accept()
	b.answerClose()
	r.moved(session.Rebalance, 8, nil)
	through(c, b2, "after")
	r.finish(c, b2)
}

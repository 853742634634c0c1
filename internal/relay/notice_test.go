package relay_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

const (
	leave = "holdfast leave"
	begin = "holdfast begin"
)

// newControlFixture is a fixture whose first backend wants notices. The station
// wants them if the test says so.
func newControlFixture(t *testing.T, e engine, times relay.Times, second bool) (*fixture, *station) {
	t.Helper()
	r, to := newMoveFixture(t, e, times, relay.Limits{})
	r.control = true
	r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
		if !m.Control {
			t.Error("the Reattacher is not told that the backend gets notices")
		}
		f, err := r.reattacher.dial(near, m)
		f.Control = second
		return f, err
	})
	return r, to
}

// testNotices: a planned move between two backends that want notices.
func testNotices(t *testing.T, e engine) {
	for _, cut := range []int{0, 1, 2, 11, 12, 15} { // their pongs come in pieces
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			r, to := newControlFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, true)
			c, b := r.open()
			through(c, b, "before")
			c.text("the last")
			b.wantText("the last")
			r.request(drain, 1)
			b2 := to.accept()
			b.want(fin|opPing, leave)
			c.text("held")
			pong := func(p *peer, text string, more ...[]byte) {
				f := p.frame(fin|opPong, text)
				if cut > 0 {
					p.send(f[:cut])
					time.Sleep(10 * time.Millisecond)
				}
				p.send(append([][]byte{f[cut:]}, more...)...)
			}
			pong(b, leave, b.frame(fin|opText, "working"))
			c.wantText("working")
			b2.text("too early")
			c.quiet(200 * time.Millisecond)
			b2.quiet(50 * time.Millisecond)
			b.text("done")
			b.close(1012)
			c.wantText("done")
			c.wantText("too early")
			b2.want(fin|opPing, begin)
			b2.wantText("held")
			pong(b2, begin)
			b.wantClose(1012) // the answer to its Close
			b.wantEnd()
			r.moved(session.Drain, 8, nil)
			through(c, b2, "after")
			// These resemble answers.
			b2.send(b2.frame(fin|opPong, begin), b2.frame(fin|opPong, leave))
			c.want(fin|opPong, begin)
			c.want(fin|opPong, leave)
			r.finish(c, b2)
		})
	}
}

// testNoticePongs: the old backend's answers to leave and to other pings.
func testNoticePongs(t *testing.T, e engine) {
	r, to := newControlFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, true)
	c, b := r.open()
	r.request(drain, 1)
	b2 := to.accept()
	b.want(fin|opPing, leave)
	for _, other := range []string{"holdfast leavE", "holdfast begin", "holdfast begiN", "holdfast", "h", "", "holdfast leave!", "12345678"} {
		f := b.frame(fin|opPong, other)
		b.send(f[:len(f)/2])
		time.Sleep(5 * time.Millisecond)
		b.send(f[len(f)/2:])
		c.want(fin|opPong, other)
	}
	b.send(b.frame(fin|opPong, leave), b.frame(fin|opPong, leave))
	c.want(fin|opPong, leave) // the other one answered our notice
	b.close(1012)
	b2.want(fin|opPing, begin)
	r.moved(session.Drain, 8, nil)
	// It answers neither begin nor leave before the next notice: the answer to
	// the latest is for both.
	third := r.station(9)
	r.reattacher.sendTo(third)
	r.request(drain, 1)
	b3 := third.accept()
	b2.want(fin|opPing, leave)
	for _, x := range b2.frame(fin|opPong, leave) {
		b2.send([]byte{x})
	}
	b2.text("only this")
	c.wantText("only this")
	b2.send(b2.frame(fin|opPong, begin)) // there was no notice
	c.want(fin|opPong, begin)
	b2.close(1012)
	b3.want(fin|opPing, begin)
	if m := r.nextMove(); m.err != nil || m.to != 9 {
		t.Errorf("%+v", m)
	}
	through(c, b3, "after")
	r.finish(c, b3)
}

// testNoticeCloses: the meaning of the old backend's Close after the notice leave.
func testNoticeCloses(t *testing.T, e engine) {
	for _, code := range []uint16{0, 1001, 1012, 1013} {
		r, to := newControlFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, false)
		c, b := r.open()
		r.request(drain, 1)
		b2 := to.accept()
		b.want(fin|opPing, leave)
		c.text("held")
		b.send(b.frame(fin|opClose, closeFrame(code, "")))
		b2.wantText("held") // and no notice, since it doesn't want any
		r.moved(session.Drain, 8, nil)
		r.finish(c, b2)
	}
	for _, code := range []uint16{1000, 1008, 1011, 3000, 4001} {
		r, to := newControlFixture(t, e, quick, true)
		c, b := r.open()
		r.request(drain, 1)
		b2 := to.accept()
		b.want(fin|opPing, leave)
		c.text("unheard")
		b.send(b.frame(fin|opPong, leave), b.frame(fin|opClose, closeFrame(code, "verdict")))
		c.want(fin|opClose, closeFrame(code, "verdict"))
		c.close(code)
		b.TCPConn.Close()
		r.moved(session.Drain, 8, relay.ErrMoveOver)
		r.end(session.BackendClosed, code)
		b2.wantEnd() // without begin
	}
}

// testNoticeBound: an old backend that doesn't close in time gets our Close.
func testNoticeBound(t *testing.T, e engine) {
	r, to := newControlFixture(t, e, quick, true)
	r.moveTimeout.Store(int64(time.Second))
	c, b := r.open()
	r.request(drain, 1)
	b2 := to.accept()
	b.want(fin|opPing, leave)
	b.send(b.frame(fin|opPong, leave))
	b.wantPing()
	b.want(fin|opClose, "\x03\xf4session moved")
	b.text("at last")
	c.wantText("at last")
	b.close(1012)
	b2.want(fin|opPing, begin)
	if m := r.moved(session.Drain, 8, nil); m.gap < 700*time.Millisecond {
		t.Errorf("it had only %v", m.gap)
	}
	through(c, b2, "after")
	r.finish(c, b2)
	// One that doesn't answer at all is given up.
	r, to = newControlFixture(t, e, quick, true)
	r.moveTimeout.Store(int64(300 * time.Millisecond))
	c, b = r.open()
	r.request(drain, 1)
	b2 = to.accept()
	b.want(fin|opPing, leave)
	b2.want(fin|opPing, begin)
	r.moved(session.Drain, 8, nil)
	through(c, b2, "after")
	r.finish(c, b2)
}

// testNoticeLoss: after a loss, the new backend gets begin at once.
func testNoticeLoss(t *testing.T, e engine) {
	r, to := newControlFixture(t, e, quick, true)
	c, b := r.open()
	b.TCPConn.Close()
	b2 := to.accept()
	b2.want(fin|opPing, begin)
	b2.text("hello")
	c.wantText("hello")
	r.moved(session.Loss, 8, nil)
	through(c, b2, "after")
	r.finish(c, b2)
}

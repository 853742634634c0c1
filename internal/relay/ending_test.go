package relay_test

import (
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// endAny waits for the end of a session, with any cause.
func (r *fixture) endAny() session.Summary {
	r.t.Helper()
	select {
	case s := <-r.ends:
		return s
	case <-time.After(patience):
		r.t.Fatal("no session ended")
		panic("unreachable")
	}
}

func lost(s session.Side) session.Cause {
	return [2]session.Cause{session.ClientLost, session.BackendLost}[s]
}

func closed(s session.Side) session.Cause {
	return [2]session.Cause{session.ClientClosed, session.BackendClosed}[s]
}

func protocol(s session.Side) session.Cause {
	return [2]session.Cause{session.ClientProtocol, session.BackendProtocol}[s]
}

func silent(s session.Side) session.Cause {
	return [2]session.Cause{session.ClientSilent, session.BackendSilent}[s]
}

func testClose(t *testing.T, e engine) {
	for _, from := range sides {
		r := newFixture(t, e, quick, relay.Limits{})
		p, q := r.both(from)
		p.text("last words")
		p.close(4001)
		q.wantText("last words")
		q.wantClose(4001)
		q.text("one more") // allowed until its own Close
		q.close(4002)
		p.wantText("one more")
		p.wantClose(4002)
		if from == session.Backend {
			p, q = q, p
		}
		q.TCPConn.Close() // the server first, RFC 6455 section 7.1.1
		p.wantEnd()
		s := r.end(closed(from), 4001)
		if s.From[from].Messages != 1 || s.From[from.Other()].Messages != 1 {
			t.Errorf("counted %+v", s.From)
		}
		if s.Duration < 0 || s.Duration > patience {
			t.Errorf("lasted %v", s.Duration)
		}
	}
}

func testCloseWithoutCode(t *testing.T, e engine) {
	for _, from := range sides {
		r := newFixture(t, e, quick, relay.Limits{})
		p, q := r.both(from)
		p.send(p.frame(fin|opClose, ""))
		q.want(fin|opClose, "")
		q.send(q.frame(fin|opClose, ""))
		p.want(fin|opClose, "")
		p.TCPConn.Close()
		q.TCPConn.Close()
		r.end(closed(from), 0)
	}
}

// testCloseBehindMuch: a Close follows everything that was sent before it, however
// slowly that is read.
func testCloseBehindMuch(t *testing.T, e engine) {
	for _, from := range sides {
		r := newFixture(t, e, relay.Times{Linger: 150 * time.Millisecond, Boundary: quick.Boundary},
			relay.Limits{KeepaliveInterval: patience, KeepaliveTimeout: patience})
		p, q := r.both(from)
		q.SetReadBuffer(32 << 10)
		const messages, size = 120, 64_000
		go func() {
			for range messages {
				p.send(p.frame(fin|2, string(make([]byte, size))))
			}
			p.close(4003)
		}()
		for i := range messages {
			time.Sleep(15 * time.Millisecond)
			if g, err := q.next(); err != nil || len(g.payload) != size {
				t.Fatalf("message %d from the %s came with %d bytes, %v", i, from, len(g.payload), err)
			}
		}
		q.wantClose(4003)
		q.close(4003)
		p.TCPConn.Close()
		q.TCPConn.Close()
		r.end(closed(from), 4003)
	}
}

// testCloseAndGone: a backend closes and disconnects at once while its client still
// sends. The client must get that Close.
func testCloseAndGone(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	for range 30 {
		c, b := r.open()
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for range 300 {
				if _, err := c.Write(c.frame(fin|opText, "chatter")); err != nil {
					return
				}
			}
		}()
		b.want(fin|opText, "chatter")
		b.close(1001)
		b.TCPConn.Close() // with unread bytes: an RST
		g, err := c.next()
		if err != nil || g.first != fin|opClose {
			t.Fatalf("the client got %v (%v), want a Close", g, err)
		}
		if g.payload != "\x03\xe9" {
			t.Fatalf("the client got a Close with %q, want the backend's own 1001", g.payload)
		}
		<-stop
		c.Write(c.frame(fin|opClose, g.payload))
		r.end(session.BackendClosed, 1001)
	}
}

func testClientLost(t *testing.T, e engine) {
	for _, c := range []struct {
		name string
		sent func(*peer) []byte
		gone func(*peer)
	}{
		{"FIN", nil, func(p *peer) { p.TCPConn.Close() }},
		{"RST", nil, (*peer).reset},
		{"FIN inside a message", func(p *peer) []byte { return p.frame(opText, "part") }, func(p *peer) { p.TCPConn.Close() }},
		{"FIN inside a frame", func(p *peer) []byte { return p.frame(fin|opText, "cut off")[:9] }, func(p *peer) { p.TCPConn.Close() }},
	} {
		r := newFixture(t, e, quick, relay.Limits{})
		p, b := r.open()
		p.text("before")
		b.wantText("before")
		if c.sent != nil {
			p.send(c.sent(p))
		}
		c.gone(p)
		// A backend sees what it would see without a balancer.
		b.wantCut()
		b.TCPConn.Close()
		r.end(session.ClientLost, 0)
	}
}

func testBackendLost(t *testing.T, e engine) {
	for _, c := range []struct {
		name string
		sent func(*peer) []byte
		gone func(*peer)
	}{
		{"FIN", nil, func(p *peer) { p.TCPConn.Close() }},
		{"RST", nil, (*peer).reset},
		{"FIN inside a message", func(p *peer) []byte { return p.frame(opText, "part") }, func(p *peer) { p.TCPConn.Close() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newFixture(t, e, quick, relay.Limits{})
			p, b := r.open()
			b.text("before")
			p.wantText("before")
			if c.sent != nil {
				b.send(c.sent(b))
				p.want(opText, "part")
			}
			c.gone(b)
			p.wantClose(relay.CodeServiceRestart)
			p.close(relay.CodeServiceRestart)
			p.wantEnd()
			r.end(session.BackendLost, relay.CodeServiceRestart)
		})
	}
}

// testBackendLostInFrame: a Close can't be sent in the middle of a frame.
func testBackendLostInFrame(t *testing.T, e engine) {
	for _, cut := range []int{1, 4, 10} {
		r := newFixture(t, e, quick, relay.Limits{})
		c, b := r.open()
		b.send(b.frame(fin|opText, string(make([]byte, 300)))[:cut])
		b.TCPConn.Close()
		c.wantCut()
		r.end(session.BackendLost, 0)
	}
}

func testHalfClose(t *testing.T, e engine) {
	times := relay.Times{Linger: 3 * quick.Linger, Boundary: quick.Boundary} // room for a slow machine
	r := newFixture(t, e, times, relay.Limits{})
	c, b := r.open()
	c.text("question")
	c.CloseWrite()
	b.wantText("question")
	b.wantEnd()
	b.text("answer")
	time.Sleep(times.Linger / 2) // twice: longer than Linger, with progress in between
	b.text("more")
	time.Sleep(3 * times.Linger / 4)
	b.text("and more")
	for _, s := range []string{"answer", "more", "and more"} {
		c.wantText(s)
	}
	b.TCPConn.Close()
	c.wantCut()
	r.end(session.ClientLost, 0)

	c, b = r.open()
	b.text("goodnight")
	b.CloseWrite()
	c.wantText("goodnight")
	c.wantClose(relay.CodeServiceRestart)
	c.text("wait")
	b.wantText("wait")
	c.close(1012)
	b.wantClose(1012)
	c.wantEnd()
	b.wantEnd()
	r.end(session.BackendLost, relay.CodeServiceRestart)
}

// testCloseUnanswered: a side that closes gets an answer even if the other side
// doesn't answer.
func testCloseUnanswered(t *testing.T, e engine) {
	for _, from := range sides {
		r := newFixture(t, e, quick, relay.Limits{})
		p, q := r.both(from)
		p.close(4000)
		q.wantClose(4000)
		p.wantClose(4000) // after Linger
		p.TCPConn.Close()
		r.end(closed(from), 4000)
	}
}

package relay_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// slowly has a short Linger, so that only Tuning.CloseTimeout gives a side time to
// answer a Close.
var slowly = relay.Times{Linger: 150 * time.Millisecond, Boundary: quick.Boundary}

// testCloseAnsweredLate: a side answers a Close late. What it sends until then is
// passed on, and then its own Close.
func testCloseAnsweredLate(t *testing.T, e engine) {
	for _, from := range sides {
		for _, fins := range []bool{false, true} { // the first one ends its stream after its Close
			r := newFixture(t, e, slowly, relay.Limits{})
			r.engine.Tune(relay.Tuning{CloseTimeout: patience})
			p, q := r.both(from)
			p.close(1000)
			if fins {
				p.CloseWrite()
			}
			q.wantClose(1000)
			time.Sleep(4 * slowly.Linger)
			q.text("last words")
			p.wantText("last words")
			time.Sleep(4 * slowly.Linger)
			q.close(4002)
			p.wantClose(4002)
			p.TCPConn.Close()
			q.TCPConn.Close()
			r.end(closed(from), 1000)
		}
	}
}

// testCloseTimeout: the answer to a Close is awaited for Tuning.CloseTimeout, and a
// change of that also applies to sessions that already wait.
func testCloseTimeout(t *testing.T, e engine) {
	for _, from := range sides {
		r := newFixture(t, e, slowly, relay.Limits{})
		r.engine.Tune(relay.Tuning{CloseTimeout: 3 * time.Second})
		p, q := r.both(from)
		began := time.Now()
		p.close(4001)
		q.wantClose(4001)
		p.wantClose(4001)
		if d := time.Since(began); d < 2500*time.Millisecond {
			t.Errorf("answered for the %s after %v", q.side, d)
		}
		p.TCPConn.Close()
		r.end(closed(from), 4001)
	}
}

// testCloseHungUp: a client closes, and its backend disconnects without an answer.
// The client gets its own code back: 1012 would make it reconnect. A backend sees
// what it would see without a balancer: the end, and no Close.
func testCloseHungUp(t *testing.T, e engine) {
	for payload, echo := range map[string]string{
		"\x03\xe8":        "\x03\xe8", // 1000
		"\x03\xe9bye":     "\x03\xe9",
		"\x0f\xa1":        "\x0f\xa1", // 4001
		"":                "",
		"\x03\xed":        "\x03\xea", // 1005 must not be in a frame, so 1002
		"\x00\x01":        "\x03\xea",
		"\xff\xff":        "\x03\xea",
		"\x07\xd0unknown": "\x03\xea", // 2000 is not assigned
	} {
		for _, gone := range []func(*peer){func(b *peer) { b.TCPConn.Close() }, (*peer).reset} {
			r := newFixture(t, e, quick, relay.Limits{PassFrames: true})
			c, b := r.open()
			c.send(c.frame(fin|opClose, payload))
			b.want(fin|opClose, payload)
			gone(b)
			c.want(fin|opClose, echo)
			c.wantEnd()
			if s := r.endAny(); s.Cause != session.ClientClosed {
				t.Errorf("ended with %s", s.Cause)
			}
		}
	}
	r := newFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	b.close(4001)
	c.wantClose(4001)
	c.TCPConn.Close()
	b.wantEnd()
	b.TCPConn.Close()
	r.end(session.BackendClosed, 4001)
}

// testBrokenAnswered: messages before a protocol violation are valid, and their
// answers are passed on before both sides get a Close.
func testBrokenAnswered(t *testing.T, e engine) {
	times := relay.Times{Linger: quick.Linger, Boundary: quick.Boundary, Reply: 2 * time.Second}
	for _, from := range sides {
		other := uint16(relay.CodeGoingAway)
		if from == session.Backend {
			other = relay.CodeInternal
		}
		begin := func() (r *fixture, p, q *peer) {
			r = newFixture(t, e, times, relay.Limits{})
			p, q = r.both(from)
			p.send(p.frame(fin|opText, "question"), p.frame(fin|3, "bad"), p.frame(fin|opText, "unheard"))
			q.wantText("question")
			return r, p, q
		}
		end := func(r *fixture, p, q *peer) {
			t.Helper()
			p.TCPConn.Close()
			q.TCPConn.Close()
			if s := r.endAny(); s.Cause != protocol(from) {
				t.Errorf("ended with %s, want %s", s.Cause, protocol(from))
			}
		}

		r, p, q := begin()
		time.Sleep(times.Reply / 4)
		q.text("answer")
		p.wantText("answer")
		q.send(q.frame(opText, "the next is ")) // inside a message when the time is over
		p.want(opText, "the next is ")
		q.wantClose(other)
		p.wantClose(relay.CodeProtocol)
		end(r, p, q)

		// The other side closes or disconnects, or the violator does.
		r, p, q = begin()
		q.text("answer")
		q.close(4000)
		p.wantText("answer")
		p.wantClose(4000)
		q.wantClose(4000)
		end(r, p, q)

		r, p, q = begin()
		q.text("answer")
		q.CloseWrite()
		p.wantText("answer")
		p.wantClose(relay.CodeProtocol)
		end(r, p, q)

		r, p, q = begin()
		p.CloseWrite()
		time.Sleep(times.Reply / 4)
		q.text("answer")
		p.wantText("answer")
		p.wantClose(relay.CodeProtocol)
		end(r, p, q)

		r, p, q = begin()
		p.reset()
		q.wantClose(other)
		end(r, p, q)

		// There is no message before, so there is nothing to wait for.
		r = newFixture(t, e, relay.Times{Linger: patience, Boundary: patience, Reply: 10 * patience}, relay.Limits{})
		p, q = r.both(from)
		p.send(p.frame(fin|3, "bad"))
		q.wantClose(other)
		p.wantClose(relay.CodeProtocol)
		end(r, p, q)
	}
}

// testFault: the summary of a session that violated the protocol has the rule and
// the offset.
func testFault(t *testing.T, e engine) {
	for _, from := range sides {
		for _, apart := range []bool{false, true} { // the header of the invalid frame comes in two pieces
			r := newFixture(t, e, quick, often)
			p, q := r.both(from)
			done := q.answer(nil)
			p.send(p.frame(fin|opPong, p.wantPing())) // isn't counted
			good := p.frame(fin|opText, "good")
			bad := p.frame(fin|opPing, string(make([]byte, 126)))
			if apart {
				p.send(good, bad[:1])
				r.until("it came", func() bool { return r.onlySession().From[from].Bytes == uint64(len(good)+1) })
				p.send(bad[1:])
			} else {
				p.send(good, bad, good)
			}
			s := r.endAny()
			if s.Cause != protocol(from) || s.Fault != "a control frame is longer than 125 bytes (RFC 6455 section 5.5)" || s.FaultAt != uint64(len(good)) {
				t.Errorf("ended with %s, %q at byte %d, want byte %d", s.Cause, s.Fault, s.FaultAt, len(good))
			}
			p.TCPConn.Close()
			q.TCPConn.Close()
			<-done
		}
	}
}

// testCloseReason: the summary has the text of the first Close frame, if a peer
// sent it.
func testCloseReason(t *testing.T, e engine) {
	code := string(binary.BigEndian.AppendUint16(nil, 4001))
	long := strings.Repeat("é", 61) + "x"
	for _, c := range []struct{ payload, want string }{
		{"", ""}, {code, ""}, {code + "banned", "banned"}, {code + long, long}, {code + "\xffa\"\n", "\uFFFDa\"\n"},
	} {
		for _, from := range sides {
			for _, apart := range []bool{false, true} {
				r := newFixture(t, e, quick, relay.Limits{})
				p, q := r.both(from)
				f := append(p.frame(fin|opText, "before"), p.frame(fin|opClose, c.payload)...)
				if apart {
					for i := range f {
						p.send(f[i : i+1])
						r.until("it came", func() bool {
							n := uint64(0)
							r.engine.Each(func(s session.Summary) { n = s.From[from].Bytes })
							return n == uint64(i+1)
						})
					}
				} else {
					p.send(f)
				}
				q.wantText("before")
				q.want(fin|opClose, c.payload)
				q.send(q.frame(fin|opClose, code+"an answer"))
				p.want(fin|opClose, code+"an answer")
				p.TCPConn.Close()
				q.TCPConn.Close()
				if s := r.endAny(); s.Reason != c.want || s.Cause != closed(from) {
					t.Errorf("the %s closed with %q, and the session ended with %s and %q, want %q", from, c.payload, s.Cause, s.Reason, c.want)
				}
			}
		}
	}
	r := newFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	r.engine.CloseSessions(shutdown)
	c.wantClose(relay.CodeGoingAway)
	c.send(c.frame(fin|opClose, "\x03\xe9so long"))
	b.want(fin|opClose, "\x03\xe9so long")
	b.TCPConn.Close()
	if s := r.end(session.Shutdown, relay.CodeGoingAway); s.Reason != "" {
		t.Errorf("the answer to a Close of ours is told as the reason: %q", s.Reason)
	}
}

package relay_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// closeFrame is the payload of a Close frame; code 0 is one without a code.
func closeFrame(code uint16, reason string) string {
	if code == 0 {
		return ""
	}
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

// untilOurClose reads up to our Close, and returns the payload of the ping before
// it.
func (p *peer) untilOurClose() (ping string) {
	p.t.Helper()
	ping = p.wantPing()
	p.want(fin|opClose, "\x03\xf4session moved")
	return ping
}

// testMoveOldCloseCrosses: the old backend closes the session before it has read
// our Close. The client gets that Close of the application.
func testMoveOldCloseCrosses(t *testing.T, e engine) {
	for _, code := range []uint16{1000, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4001, 4999} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
			c, b := r.open()
			r.request(drain, 1)
			b2 := to.accept()
			b.untilOurClose() // the backend acts as if it had not read it
			c.text("unheard")
			b.text("you are")
			b.send(b.frame(fin|opClose, closeFrame(code, "banned")))
			c.wantText("you are")
			c.want(fin|opClose, closeFrame(code, "banned"))
			c.close(code)
			b.TCPConn.Close()
			r.moved(session.Drain, 8, relay.ErrMoveOver)
			r.end(session.BackendClosed, code)
			b2.wantCut() // it got nothing of the session
		})
	}
}

// testMoveOldAnswers: every answer to our Close ends the move, whatever its code.
func testMoveOldAnswers(t *testing.T, e engine) {
	for name, answer := range map[string]func(b *peer, ping string){
		"echo":                 func(b *peer, _ string) { b.close(1012) },
		"echo with the reason": func(b *peer, _ string) { b.send(b.frame(fin|opClose, "\x03\xf4session moved")) },
		"no code":              func(b *peer, _ string) { b.send(b.frame(fin|opClose, "")) },
		"1001 with a reason":   func(b *peer, _ string) { b.send(b.frame(fin|opClose, "\x03\xe9going away")) },
		"1013 with a reason":   func(b *peer, _ string) { b.send(b.frame(fin|opClose, "\x03\xf5later")) },
		"1000, as aiohttp": func(b *peer, ping string) {
			b.send(b.frame(fin|opPong, ping), b.frame(fin|opClose, "\x03\xe8"))
		},
		"1000 in pieces": func(b *peer, ping string) {
			for _, x := range append(b.frame(fin|opPong, ping), b.frame(fin|opClose, "\x03\xe8bye")...) {
				b.send([]byte{x})
			}
		},
		"no Close at all": func(b *peer, _ string) { b.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
			c, b := r.open()
			r.request(drain, 1)
			b2 := to.accept()
			ping := b.untilOurClose()
			b.text("the last word")
			answer(b, ping)
			c.wantText("the last word")
			r.moved(session.Drain, 8, nil)
			through(c, b2, "after")
			r.finish(c, b2)
		})
	}
}

// testMoveKeepsNoPayload: what the old backend sent in one piece with the Close that
// ends its part isn't taken for the text of a Close.
func testMoveKeepsNoPayload(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	r.request(drain, 1)
	b2 := to.accept()
	b.want(fin|opClose, "\x03\xf4session moved")
	b.send(append(b.frame(fin|opText, "private"), b.frame(fin|opClose, "\x03\xf4")...))
	b.wantEnd()
	c.wantText("private")
	r.moved(session.Drain, 8, nil)
	through(c, b2, "after")
	r.engine.CloseSessions(shutdown)
	for _, p := range []*peer{c, b2} {
		p.wantClose(relay.CodeGoingAway)
		p.close(relay.CodeGoingAway)
	}
	if s := r.end(session.Shutdown, relay.CodeGoingAway); s.Reason != "" {
		t.Errorf("the session ended with the reason %q, which nobody gave", s.Reason)
	}
}

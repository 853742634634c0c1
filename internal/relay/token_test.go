package relay_test

import (
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// expire wants the session of c and b to end since the client's token has expired.
func (r *fixture) expire(c, b *peer) {
	r.t.Helper()
	c.want(fin|opClose, "\x03\xf0token expired")
	c.close(1008)
	b.wantClose(1008)
	b.TCPConn.Close()
	c.wantEnd()
	r.end(session.TokenExpired, relay.CodePolicy)
}

func testToken(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{Lifetime: time.Hour})
	const year = 365 * 24 * time.Hour
	for _, d := range []time.Duration{20 * year, 290 * year} { // beyond the clock is never
		r.tokenFor.Store(int64(d))
		c, b := r.open()
		c.quiet(100 * time.Millisecond)
		through(c, b, "alive")
		r.finish(c, b)
	}
	r.tokenFor.Store(int64(500 * time.Millisecond))
	c, b := r.open()
	through(c, b, "alive")
	r.expire(c, b)
	r.tokenFor.Store(-int64(time.Hour)) // while it waited in a queue
	c, b = r.open()
	r.expire(c, b)

	// The lifetime may be over before.
	r = newFixture(t, e, quick, relay.Limits{Lifetime: 200 * time.Millisecond})
	r.tokenFor.Store(int64(time.Hour))
	c, b = r.open()
	c.wantClose(1001)
	c.close(1001)
	b.wantClose(1001)
	b.TCPConn.Close()
	r.end(session.MaxLifetime, relay.CodeGoingAway)
}

func testTokenAfterMove(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	r.tokenFor.Store(int64(time.Second))
	c, b := r.open()
	r.request(drain, 1)
	b2 := to.accept()
	b.answerClose()
	r.moved(session.Drain, 8, nil)
	r.expire(c, b2)
}

func testRequestSessions(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	r.open()
	first := r.onlySession().ID
	c, b := r.open()
	var second session.ID
	r.engine.Each(func(s session.Summary) {
		if s.ID != first {
			second = s.ID
		}
	})
	q := relay.CloseRequest{Selection: relay.Selection{Sessions: map[session.ID]bool{second: true, session.NewID(): true}},
		Close: relay.Close{Cause: session.AdminClosed, Code: relay.CodePolicy, Text: "signed out"}}
	r.request(q, 1)
	c.want(fin|opClose, "\x03\xf0signed out")
	c.close(1008)
	b.wantClose(1008)
	b.TCPConn.Close()
	r.end(session.AdminClosed, relay.CodePolicy)
	q.Sessions = map[session.ID]bool{}
	r.request(q, 0) // none are not all
	if s := r.onlySession(); s.ID != first {
		t.Errorf("the session %s is left", s.ID)
	}
}

package relay_test

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// down ends the sessions of a backend that hangs.
var down = relay.CloseRequest{Selection: relay.OfBackend(7), Close: relay.Close{Cause: session.BackendDown}}

// testDown: a session whose backend is down goes on with another one, whatever the old
// one does, and what that still sends isn't passed on.
func testDown(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	through(c, b, "before")
	r.request(down, 1)
	b2 := to.accept()
	r.moved(session.Loss, 8, nil)
	through(c, b2, "after")
	b.wantCut()
	r.request(down, 0) // it is with another backend
	r.finish(c, b2)
}

// testDownUnmoved: without reattach, the loss is reported to the client.
func testDownUnmoved(t *testing.T, e engine) {
	r, _ := newMoveFixture(t, e, quick, relay.Limits{})
	r.onLoss.Store(false)
	c, b := r.open()
	r.request(down, 1)
	c.want(fin|opClose, "\x03\xf4server lost")
	c.close(1012)
	r.end(session.BackendDown, 1012)
	b.wantCut()

	// The same if there is no other.
	r.onLoss.Store(true)
	r.reattacher.onReattach(refuse)
	c, _ = r.open()
	r.request(down, 1)
	c.want(fin|opClose, "\x03\xf4server lost")
	r.moved(session.Loss, 0, errNoOther)
	c.close(1012)
	r.end(session.BackendDown, 1012)
}

// testDownOpaque: both connections of an opaque session end.
func testDownOpaque(t *testing.T, e engine) {
	r := newOpaque(t, e, quick, relay.Limits{})
	c, b := r.open()
	r.request(down, 1)
	c.wantOver()
	b.wantOver()
	r.end(session.BackendDown, 0)
}

package relay_test

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// The kernel keeps no more unsent for a side that doesn't read than Tuning.Unsent, in
// both directions and although the limit isn't set before some bytes have passed.
func TestUnsentIsLimited(t *testing.T) {
	const unsent = 64 << 10
	const most = 1 << 20 // with what was sent and not read, and the backlog; without a limit it is 4 MB
	for _, opaque := range []bool{false, true} {
		r := newFixtureWith(t, epoll(t), quick, &fixture{opaque: opaque})
		r.engine.Tune(relay.Tuning{CloseTimeout: quick.Linger, Unsent: unsent})
		for _, from := range []session.Side{session.Client, session.Backend} {
			before := r.engine.Traffic()[from].Bytes
			c, b := r.open()
			sender := [2]*peer{c, b}[from]
			done := sender.flood()
			r.until("a socket takes no more", func() bool { return r.engine.Backlog() > 0 })
			if n := r.engine.Traffic()[from].Bytes - before; n > most {
				t.Errorf("opaque %v: the kernel and the backlog have %d bytes of the %s", opaque, n, from)
			}
			r.engine.Abort(session.Shutdown)
			<-done
			r.until("nothing is kept", func() bool { return r.engine.Backlog() == 0 })
		}
	}
}

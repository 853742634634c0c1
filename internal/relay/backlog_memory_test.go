package relay_test

import (
	"io"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// testBacklogMemory: clients that don't read get no more memory together than there may
// be. The others stay.
func testBacklogMemory(t *testing.T, e engine) {
	// The loops of Epoll may keep 512 KiB each; Portable has what it is writing in it.
	const tuned, most = 256 << 10, 3 << 19
	r := newFixture(t, e, quick, relay.Limits{SlowConsumer: patience})
	r.engine.Tune(relay.Tuning{CloseTimeout: quick.Linger, Backlog: tuned})
	gc, gb := r.open()
	f := flooding{r: r}
	for ended := 0; ended < 4; {
		f.more()
		gc.text("ping")
		gb.wantText("ping")
		gb.text("pong")
		gc.wantText("pong")
		if n := r.engine.Backlog(); n > most {
			t.Errorf("%d bytes are kept", n)
		}
		select {
		case s := <-r.ends:
			if s.Cause != session.SlowConsumer || s.Limit != session.BacklogMemory || s.LimitSide != session.Client {
				t.Fatalf("ended with %s by the %s's %s", s.Cause, s.LimitSide, s.Limit)
			}
			ended++
		default:
		}
	}
	r.engine.Abort(session.Shutdown)
	r.until("nothing is kept", func() bool { return r.engine.Backlog() == 0 })
	f.Wait()
}

// flooding are sessions whose backends flood and whose clients don't read. How much is
// kept for each depends on what the sockets happen to take, so that no number of them
// is sure to fill the backlog.
type flooding struct {
	sync.WaitGroup
	r     *fixture
	count int
	last  time.Time
}

// more opens 40 sessions, and one more when those did not do for a while. It must be
// called again and again.
func (f *flooding) more() {
	for f.count < 40 || f.count < 1000 && time.Since(f.last) > 200*time.Millisecond {
		_, b := f.r.open()
		go io.Copy(io.Discard, b)
		done := b.flood()
		f.Go(func() { <-done })
		f.count++
		f.last = time.Now()
	}
}

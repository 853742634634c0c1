package relay_test

import (
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// testMeter: a backend's traffic is what its sessions have sent while they were with
// it, including large messages, and the sum is the traffic of all. A backend that
// was removed is included once more.
func testMeter(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	large := strings.Repeat("large ", 100_000)
	c, b := r.open() // with 7
	through(c, b, "before")
	go c.text(large)
	b.wantText(large)
	r.request(drain, 1)
	b2 := to.accept() // 8
	b.want(fin|opClose, "\x03\xf4session moved")
	b.close(1012)
	b.wantEnd()
	r.moved(session.Drain, 8, nil)
	through(c, b2, "after")
	through(c, b2, "and again")

	all := func(uint32) bool { return true }
	r.until("both backends have what their sessions sent", func() bool {
		at, sum := r.engine.BackendTraffic(all), r.engine.Traffic()
		old, now := at[7], at[8]
		for side := range sum {
			if old[side].Bytes+now[side].Bytes != sum[side].Bytes || old[side].Messages+now[side].Messages != sum[side].Messages {
				return false
			}
		}
		return len(at) == 2 && old[session.Client].Messages == 2 && old[session.Client].Bytes > uint64(len(large)) &&
			old[session.Backend].Messages == 1 && now[session.Client].Messages == 2 && now[session.Backend].Messages == 2
	})
	gone := func(backend uint32) bool { return backend != 7 }
	if at := r.engine.BackendTraffic(gone); at[7][session.Client].Messages != 2 {
		t.Errorf("the last of a backend is %+v", at[7])
	}
	if at := r.engine.BackendTraffic(gone); len(at) != 1 || at[8][session.Client].Messages != 2 {
		t.Errorf("without the backend that is gone: %+v", at)
	}
	through(c, b2, "more")
	r.until("it goes on counting", func() bool { return r.engine.BackendTraffic(gone)[8][session.Client].Messages == 3 })
	r.finish(c, b2)
}

package relay_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// slow reads what p gets, a few bytes at a time, until the first Close frame or the
// end.
func (p *peer) slow(until time.Time) (total int, err error) {
	buf := make([]byte, 4<<10)
	for time.Now().Before(until) {
		n, err := p.Read(buf)
		if total += n; err != nil {
			return total, err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return total, nil
}

// A ping waits behind everything that was sent before it, so a slow reader answers
// late. A side that takes bytes is alive.
func TestEpollSlowReader(t *testing.T) {
	t.Parallel()
	for _, from := range sides {
		t.Run("from the "+from.String(), func(t *testing.T) {
			t.Parallel()
			limits := relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 400 * time.Millisecond}
			r := newFixture(t, epoll(t), quick, limits)
			source, sink := r.both(from)
			sink.SetReadBuffer(32 << 10)
			go func() { // writes as much as the client takes, until the end of the test
				f := source.frame(fin|2, string(bytes.Repeat([]byte("x"), 50_000)))
				for {
					if _, err := source.Write(f); err != nil {
						return
					}
				}
			}()
			go io.Copy(io.Discard, source)
			if n, err := sink.slow(time.Now().Add(5 * (limits.KeepaliveInterval + limits.KeepaliveTimeout))); err != nil || n == 0 {
				t.Fatalf("after %d bytes: %v", n, err)
			}
			if n := r.engine.Active(); n != 1 {
				t.Fatalf("Active = %d: %+v", n, r.endAny())
			}
			source.reset()
			sink.reset()
			if s := r.endAny(); s.Cause != session.ClientLost && s.Cause != session.BackendLost {
				t.Errorf("ended with %s", s.Cause)
			}
		})
	}
}

func epoll(t *testing.T) engine {
	t.Helper()
	for _, e := range engines {
		if e.name == "epoll" {
			return e
		}
	}
	t.Fatal("no epoll engine")
	panic("unreachable")
}

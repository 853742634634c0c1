package relay_test

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// oneLoop is the epoll engine with one loop, so that slots are used again in order.
func oneLoop(t *testing.T) engine {
	e := epoll(t)
	e.make = func(times relay.Times, log *slog.Logger, ended relay.Ended) (relay.Engine, error) {
		return relay.NewEpoll(1, times, log, ended)
	}
	return e
}

func memoryOf(r *fixture) relay.TLSMemory { return r.engine.(*relay.Epoll).TLSMemory() }

// TestTLSState: what TLS takes beside the records. A session without it takes nothing, and
// one that has ended leaves nothing behind.
func TestTLSState(t *testing.T) {
	if relay.TLSSideSize > 136 {
		t.Errorf("a side with TLS takes %d bytes", relay.TLSSideSize)
	}
	r := newFixture(t, oneLoop(t), quick, relay.Limits{})
	c, b := r.open()
	through(c, b, "plain")
	if m := memoryOf(r); m != (relay.TLSMemory{}) {
		t.Errorf("a session without TLS takes %+v", m)
	}
	r.finish(c, b)
	for _, tls := range []speaksTLS{{true, false}, {false, true}, {true, true}} {
		r.speak(tls)
		want := relay.TLSMemory{Layers: 1}
		for s := range tls {
			if tls[s] {
				want.Chunks[s], want.States = 1, want.States+1
			}
		}
		c, b := r.open()
		through(c, b, "with TLS")
		m := memoryOf(r)
		m.Buffers = 0
		if m.Chunks[0] < want.Chunks[0] || m.Chunks[1] < want.Chunks[1] || m.States != want.States || m.Begun+m.Ends > 0 {
			t.Errorf("%v takes %+v, want %+v", tls, m, want)
		}
		// The beginning of a record waits at the end.
		last := b
		if tls[session.Client] {
			last = c
		}
		last.TCPConn.Write([]byte("\x17\x03\x03"))
		r.until("it is read", func() bool { return memoryOf(r).Begun == 1 })
		c.reset()
		b.TCPConn.Close()
		r.endAny()
		r.until("its end", func() bool { return r.engine.Active() == 0 })
		if m := memoryOf(r); m.States+m.Begun+m.Ends > 0 {
			t.Errorf("%v leaves %+v behind", tls, m)
		}
		// The next session in the slot speaks no TLS.
		r.speak(speaksTLS{})
		c, b = r.open()
		through(c, b, "in the slot of another")
		if m := memoryOf(r); m.States > 0 {
			t.Errorf("after %v a session without TLS takes %+v", tls, m)
		}
		r.finish(c, b)
	}
	r.until("all are over", func() bool { return r.engine.Active() == 0 })
	r.engine.Trim()
	if m := memoryOf(r); m.Chunks != [2]int{} || m.Numbers+m.Buffers > 0 {
		t.Errorf("Trim leaves %+v", m)
	}
}

// layered is a connection on another one.
type layered struct{ transport.Conn }

func (l layered) Inner() transport.Conn { return l.Conn }

// TestUnknownLayers: a connection with another layer than TLS on it would lose that. It is
// refused, and still the caller's.
func TestUnknownLayers(t *testing.T) {
	for _, tls := range []speaksTLS{{}, {true, true}} {
		e := oneLoop(t)
		e.tls = tls
		r, to := newMoveFixture(t, e, quick, relay.Limits{})
		r.startBy(func(c, b transport.Conn, s relay.Start) error {
			if r.engine.Start(layered{c}, b, s) == nil || r.engine.Start(c, layered{b}, s) == nil {
				t.Error("Start takes a connection with another layer")
			}
			return r.engine.Start(c, b, s)
		})
		r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
			f, err := r.reattacher.dial(near, m)
			f.Conn = layered{f.Conn}
			return f, err
		})
		c, b := r.open()
		through(c, b, "before")
		r.request(moveOnly(), 1)
		to.accept()
		if m := r.nextMove(); m.err == nil || !strings.Contains(m.err.Error(), "layer that this engine doesn't know") {
			t.Errorf("the move ended with %v", m.err)
		}
		through(c, b, "after")
		r.finish(c, b)
	}
}

// TestTLSBelowLayers: so is one with a layer below its TLS.
func TestTLSBelowLayers(t *testing.T) {
	e := oneLoop(t)
	r := newFixture(t, e, quick, relay.Limits{})
	r.startBy(func(c, b transport.Conn, s relay.Start) error {
		secured, err := r.handshake(layered{c}, session.Client)
		if err != nil {
			return err
		}
		if r.engine.Start(secured, b, s) == nil {
			t.Error("Start takes TLS on another layer")
		}
		secured.Write([]byte("still mine"))
		b.Close()
		return secured.Close()
	})
	c := r.dial()
	b := r.accept()
	defer b.TCPConn.Close()
	r.peerHandshake(c)
	if text, err := io.ReadAll(c); string(text) != "still mine" || err != nil {
		t.Errorf("read %q, %v", text, err)
	}
	r.mu.Lock()
	r.started = nil // it was not
	r.mu.Unlock()
}

func init() {
	muted = func(r *fixture) int {
		if _, ok := r.engine.(*relay.Epoll); !ok {
			return 1
		}
		return memoryOf(r).Mute
	}
}

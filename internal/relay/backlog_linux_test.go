package relay

import (
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// While a client takes nothing, at most the bytes of one read are kept for it,
// however much its backend sends.
func TestBacklogIsBounded(t *testing.T) {
	ended := make(chan session.Summary, 1)
	e, err := NewEpoll(1, DefaultTimes, slog.New(slog.DiscardHandler), func(s session.Summary) { ended <- s })
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	backends, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backends.Close()
	to := backends.Addr().(*net.TCPAddr).AddrPort()
	ln, err := e.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(c transport.Conn) {
		b, err := e.Dial(c, hostport.At(to), time.Now().Add(10*time.Second))
		if err == nil {
			err = e.Start(c, b, Start{})
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := backends.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		f := wire(session.Backend, 0x82, make([]byte, 60_000))
		for {
			b.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			n, err := b.Write(f)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}()
	<-done
	kept := 0
	e.Group.Each(func(i int, _ *eventloop.Loop) {
		for _, k := range e.loops[i].backlog.kept {
			kept += cap(k.buf)
		}
	})
	if kept == 0 || kept > keepSize+keepSmall {
		t.Errorf("%d bytes are kept of %d sent, want some and at most %d", kept, sent.Load(), keepSize+keepSmall)
	}
	b.Close()
	c.Close()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		t.Error("the session goes on")
	}
	e.Group.Each(func(i int, _ *eventloop.Loop) {
		if l := &e.loops[i].backlog; len(l.free) != len(l.kept) {
			t.Errorf("%d of %d kept buffers are in use after the end", len(l.kept)-len(l.free), len(l.kept))
		}
	})
}

package eventloop

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

func TestPanicClosesItsConnectionOnly(t *testing.T) {
	j := &testkit.Log{}
	g, err := NewGroup(1, j.Logger(), func(*Loop) Owner { return nothing{} })
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ln, err := g.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(c transport.Conn) {
		b := make([]byte, 4)
		io.ReadFull(c, b)
		if string(b) == "boom" {
			panic("told to")
		}
		c.Write(b)
		echo(c)
	})
	if err != nil {
		t.Fatal(err)
	}
	good, bad := dial(t, ln.Addr()), dial(t, ln.Addr())
	write(t, good, "good")
	wantRead(t, good, "good")
	write(t, bad, "boom")
	wantEOF(t, bad)
	write(t, good, "still here")
	wantRead(t, good, "still here")
	if s := j.String(); !strings.Contains(s, "told to") || !strings.Contains(s, "loop_linux_test.go") {
		t.Errorf("the log has no trace of it: %s", s)
	}
}

// TestCloseUnwindsTasks: every wait of a task fails, and its deferred functions
// have run when Close returns.
func TestCloseUnwindsTasks(t *testing.T) {
	hole := blackhole(t).AddrPort()
	g := newTestGroup(t, 2, nil)
	var waiting, unwound atomic.Int32
	to, _ := listen(t, g, func(c transport.Conn) {
		defer unwound.Add(1)
		b := make([]byte, 1)
		c.Read(b)
		waiting.Add(1)
		var err error
		switch b[0] {
		case 'r':
			_, err = c.Read(b)
		case 'w':
			_, err = c.Write(make([]byte, 64<<20))
		case 'd':
			_, err = g.Dial(c, hostport.At(hole), time.Now().Add(testkit.Patience))
		}
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%c: %v", b[0], err)
		}
		if _, err := c.Read(b); err == nil {
			t.Errorf("%c: it reads on", b[0])
		}
	})
	var conns []net.Conn
	for _, what := range []string{"r", "w", "d", "r", "w", "d"} {
		c := dial(t, to)
		write(t, c, what)
		conns = append(conns, c)
	}
	testkit.Eventually(t, "all tasks wait", func() bool { return waiting.Load() == int32(len(conns)) })
	g.Close()
	if n := unwound.Load(); n != int32(len(conns)) {
		t.Errorf("%d of %d tasks have come to their end", n, len(conns))
	}
	for _, c := range conns {
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
	}
}

// lateAdopter hands its group a connection just before the loop has ended.
type lateAdopter struct {
	nothing
	adopt func()
}

func (o *lateAdopter) Stopped() { o.adopt() }

func TestAdoptWhileClosing(t *testing.T) {
	ln, addr := backend(t)
	c := dial(t, addr)
	late := &lateAdopter{}
	g := newTestGroup(t, 1, func(*Loop) Owner { return late })
	b := accepted(t, ln)
	var err error
	late.adopt = func() { err = g.Adopt(b, transport.Meta{}, nil, echo) }
	g.Close()
	if err == nil { // it took the connection, so it has closed it
		wantEOF(t, c)
	}
	if err := g.Adopt(accepted2(t), transport.Meta{}, nil, echo); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Adopt after Close: %v", err)
	}
}

func accepted2(t *testing.T) net.Conn {
	ln, addr := backend(t)
	dial(t, addr)
	return accepted(t, ln)
}

// pairs is an Owner that keeps its slots and reports its events.
type pairs struct {
	nothing
	l       *Loop
	ready   func(slot int32, side session.Side)
	expired func(slot int32)
	owned   map[int32][2]Socket
}

func (p *pairs) Ready(slot int32, side session.Side, ev Events) { p.ready(slot, side) }
func (p *pairs) Expired(slot int32)                             { p.expired(slot) }
func (p *pairs) Stopped() {
	for slot := range p.owned {
		p.drop(slot)
	}
}

func (p *pairs) drop(slot int32) {
	for _, s := range p.owned[slot] {
		CloseFD(s.FD)
	}
	delete(p.owned, slot)
	p.l.Free(slot)
}

func newPairs(t *testing.T) (g *Group, p *pairs, open func() (slot int32, client, backend net.Conn)) {
	p = &pairs{owned: map[int32][2]Socket{}, ready: func(int32, session.Side) {}, expired: func(int32) {}}
	g = newTestGroup(t, 1, func(l *Loop) Owner { p.l = l; return p })
	ln, addr := backend(t)
	slots := make(chan int32, 1)
	to, _ := listen(t, g, func(c transport.Conn) {
		b, err := g.Dial(c, hostport.At(addr), time.Now().Add(testkit.Patience))
		if err != nil {
			t.Error(err)
			return
		}
		if _, _, _, err := Release(c, c); err == nil {
			t.Error("a connection is a pair with itself")
		}
		l, slot, socks, err := Release(c, b)
		if err != nil || l != p.l {
			t.Errorf("Release = %p, %v", l, err)
		}
		if _, _, _, err := Release(c, b); err == nil {
			t.Error("a pair is released twice")
		}
		p.owned[slot] = socks
		slots <- slot
	})
	return g, p, func() (int32, net.Conn, net.Conn) {
		c := dial(t, to)
		b := accepted(t, ln)
		return <-slots, c, b
	}
}

// TestStaleEvents: if an event of one slot closes another one, whose number even
// goes to a new connection, the other one's events of the same batch are ignored.
func TestStaleEvents(t *testing.T) {
	g, p, open := newPairs(t)
	a, ca, _ := open()
	b, cb, bb := open()
	var heard []int32
	g.Each(func(int, *Loop) {
		p.ready = func(slot int32, side session.Side) {
			heard = append(heard, slot)
			if len(heard) == 1 {
				other := a ^ b ^ slot
				p.drop(other)
				if again := p.l.slots.take(); again != other {
					t.Errorf("slot %d was taken, want %d", again, other)
				}
			}
		}
	})
	hold := make(chan struct{})
	p.l.Post(func() { <-hold }) // all of it comes in one batch
	write(t, ca, "x")
	write(t, cb, "x")
	write(t, bb, "x")
	time.Sleep(50 * time.Millisecond) // loopback has delivered by then
	close(hold)
	testkit.Eventually(t, "an event has come", func() (ok bool) {
		g.Each(func(int, *Loop) { ok = len(heard) > 0 })
		return ok
	})
	g.Each(func(int, *Loop) {
		for _, slot := range heard[1:] {
			if slot != heard[0] {
				t.Errorf("slot %d hears of its former connection", slot)
			}
		}
	})
}

// TestTimers: no timer expires early, or much later than its tick.
func TestTimers(t *testing.T) {
	g, p, open := newPairs(t)
	var slots []int32
	for range 5 {
		slot, _, _ := open()
		slots = append(slots, slot)
	}
	type ring struct {
		slot int32
		at   Tick
	}
	rings := make(chan ring, 100)
	due := map[int32]Tick{}
	g.Each(func(int, *Loop) {
		p.expired = func(slot int32) { rings <- ring{slot, p.l.Now()} }
		for i, slot := range slots {
			due[slot] = p.l.Now() + Tick(i)*2
			p.l.Arm(slot, p.l.Now()+40) // will be changed
			p.l.Arm(slot, due[slot])
		}
		p.l.Disarm(slots[4])
	})
	for range slots[:4] {
		select {
		case r := <-rings:
			if r.at < due[r.slot] || r.at > due[r.slot]+8 || r.slot == slots[4] {
				t.Errorf("slot %d expired at tick %d, due at %d", r.slot, r.at, due[r.slot])
			}
		case <-time.After(testkit.Patience):
			t.Fatal("a timer never expires")
		}
	}
	if len(rings) > 0 {
		t.Errorf("it expired once more: %v", <-rings)
	}
}

// TestPostOrder: functions run in order, and not after the end.
func TestPostOrder(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	l := g.loops[0]
	var got []int
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() {
			for i := range 250 {
				l.Post(func() { got = append(got, w<<16|i) })
			}
		})
	}
	work.Wait()
	g.Each(func(int, *Loop) {
		if len(got) != 1000 {
			t.Errorf("%d of 1000 ran", len(got))
		}
		last := [4]int{-1, -1, -1, -1}
		for _, x := range got {
			if w, i := x>>16, x&0xFFFF; i != last[w]+1 {
				t.Fatalf("of %d, %d ran after %d", w, i, last[w])
			} else {
				last[w] = i
			}
		}
	})
	g.Close()
	if l.Post(func() { t.Error("it runs after the end") }) {
		t.Error("Post after Close")
	}
}

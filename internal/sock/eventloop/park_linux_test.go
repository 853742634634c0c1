package eventloop

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// lot is where tasks of a test park their connections.
type lot struct {
	to     netip.AddrPort
	parked chan transport.Parked
	served chan struct{} // a task has ended
	gone   atomic.Int32
	again  func(transport.Conn) // what a connection that is resumed is served with
}

// park makes a listener whose tasks read head, and park with it as first.
func park(t *testing.T, g *Group, head string, again func(transport.Conn)) *lot {
	t.Helper()
	p := &lot{parked: make(chan transport.Parked, 10_000), again: again}
	p.to, p.served = listen(t, g, func(c transport.Conn) {
		first := make([]byte, len(head))
		if _, err := io.ReadFull(c, first); err != nil || string(first) != head {
			t.Errorf("read %q, %v", first, err)
		}
		parked, err := c.Park(first, func(c transport.Conn) {
			p.again(c)
			p.served <- struct{}{}
		}, func() { p.gone.Add(1) })
		if err != nil {
			t.Errorf("park: %v", err)
			return
		}
		if _, err := c.Read(first); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read of what is parked: %v", err)
		}
		c.Close() // does nothing
		p.parked <- parked
	})
	return p
}

// take dials, sends and returns what was parked of it.
func (p *lot) take(t *testing.T, head string) (*net.TCPConn, transport.Parked) {
	t.Helper()
	c := dial(t, p.to)
	write(t, c, head)
	wait(t, p.served)
	return c, <-p.parked
}

func TestParkedConnectionGoesOn(t *testing.T) {
	g := newTestGroup(t, 2, nil)
	remote := make(chan netip.AddrPort, 1)
	p := park(t, g, "head", func(c transport.Conn) {
		remote <- c.RemoteAddr()
		if !c.LocalAddr().IsValid() {
			t.Error("no local address")
		}
		echo(c)
	})
	c, parked := p.take(t, "head")
	write(t, c, " and early") // stays in the socket
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("while parked, read %d bytes, %v", n, err)
	}
	c.SetReadDeadline(time.Now().Add(testkit.Patience))
	parked.Resume()
	parked.Resume()
	parked.Close()
	wantRead(t, c, "head and early")
	if got := <-remote; got != c.LocalAddr().(*net.TCPAddr).AddrPort() {
		t.Errorf("the remote address is %v", got)
	}
	write(t, c, "more")
	wantRead(t, c, "more")
	c.CloseWrite()
	wantEOF(t, c)
	wait(t, p.served)
	if p.gone.Load() != 0 {
		t.Error("gone was called")
	}
}

// A resumed connection may be parked again, with what it has not read.
func TestParkTwice(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	again := make(chan transport.Parked, 1)
	p := park(t, g, "abcdef", func(c transport.Conn) {
		first := make([]byte, 3)
		io.ReadFull(c, first)
		parked, err := c.Park(first, echo, func() {})
		if err != nil {
			t.Errorf("park: %v", err)
		}
		again <- parked
	})
	c, parked := p.take(t, "abcdef")
	parked.Resume()
	(<-again).Resume()
	wantRead(t, c, "abcdef")
	c.Close()
}

func TestPeerOfParkedGoesAway(t *testing.T) {
	for name, leave := range map[string]func(*net.TCPConn){
		"closes":      func(c *net.TCPConn) { c.Close() },
		"resets":      func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"half-closes": func(c *net.TCPConn) { c.CloseWrite() },
		"closes after a byte": func(c *net.TCPConn) {
			c.Write([]byte("x"))
			c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newTestGroup(t, 1, nil)
			p := park(t, g, "head", func(transport.Conn) { t.Error("it was resumed") })
			before := descriptors(t)
			c, parked := p.take(t, "head")
			leave(c)
			testkit.Eventually(t, "gone is called", func() bool { return p.gone.Load() == 1 })
			c.Close()
			testkit.Eventually(t, "its descriptor is free", func() bool { return descriptors(t) <= before })
			parked.Resume()
			parked.Close()
			g.Each(func(_ int, l *Loop) {
				if len(l.parked) != 0 || l.slots.inUse != 0 {
					t.Errorf("%d are parked, %d slots in use", len(l.parked), l.slots.inUse)
				}
			})
			// The slot serves others.
			again := make(chan struct{})
			p.again = func(c transport.Conn) { close(again) }
			_, parked = p.take(t, "head")
			parked.Resume()
			wait(t, again)
			wait(t, p.served)
			if p.gone.Load() != 1 {
				t.Errorf("gone was called %d times", p.gone.Load())
			}
		})
	}
}

func TestParkedIsClosed(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	p := park(t, g, "head", func(transport.Conn) { t.Error("it was resumed") })
	c, parked := p.take(t, "head")
	parked.Close()
	parked.Close()
	parked.Resume()
	wantEOF(t, c)
	g.Each(func(_ int, l *Loop) {
		if l.slots.inUse != 0 || p.gone.Load() != 0 {
			t.Errorf("%d slots in use, gone was called %d times", l.slots.inUse, p.gone.Load())
		}
	})
}

func TestGroupClosesWhatIsParked(t *testing.T) {
	g := newTestGroup(t, 2, nil)
	p := park(t, g, "head", func(transport.Conn) { t.Error("it was resumed") })
	var conns []*net.TCPConn
	var all []transport.Parked
	for range 10 {
		c, parked := p.take(t, "head")
		conns, all = append(conns, c), append(all, parked)
	}
	g.Close()
	for i, c := range conns {
		wantEOF(t, c)
		all[i].Resume()
		all[i].Close()
	}
	if n := p.gone.Load(); n != 10 {
		t.Errorf("gone was called %d times, want 10", n)
	}
}

func TestParkRefusals(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	ln, at := backend(t)
	defer ln.Close()
	no := func(transport.Conn) { t.Error("it was resumed") }
	to, done := listen(t, g, func(c transport.Conn) {
		b, err := g.Dial(c, hostport.At(at), time.Now().Add(testkit.Patience))
		if err != nil {
			t.Error(err)
			return
		}
		for _, conn := range []transport.Conn{b, c} {
			if _, err := conn.Park(nil, no, nil); err == nil || !strings.Contains(err.Error(), "not alone") {
				t.Errorf("park of a pair: %v", err)
			}
		}
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, transport.ErrHungUp) {
			t.Errorf("read of a backend whose client goes: %v", err)
		}
		b.Close()
		if _, err := c.Park(nil, no, nil); !errors.Is(err, transport.ErrHungUp) {
			t.Errorf("park of one that has hung up: %v", err)
		}
		c.Close()
		if _, err := c.Park(nil, no, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("park of one that is closed: %v", err)
		}
	})
	dial(t, to).Close()
	wait(t, done)
}

// A parked handshake needs its slot, its record and the bytes of its head.
func TestMemoryOfParked(t *testing.T) {
	const n = 5000
	head := "GET /chat HTTP/1.1\r\nHost: ws.example.com\r\nCookie: " + strings.Repeat("c", 446) + "\r\n\r\n"
	if len(head) != 500 {
		t.Fatalf("a head of %d bytes", len(head))
	}
	g := newTestGroup(t, 2, nil)
	p := park(t, g, head, func(c transport.Conn) {})
	// What clients need, and what loops keep, isn't counted.
	var conns [n]*net.TCPConn
	for i := range conns {
		conns[i] = dial(t, p.to)
	}
	testkit.Eventually(t, "all are accepted", func() bool { return held(g) == n })
	g.Each(func(_ int, l *Loop) { l.Trim() })
	tasks := usage()
	all := make([]transport.Parked, 0, n)
	for i := range conns {
		write(t, conns[i], head)
		wait(t, p.served)
		all = append(all, <-p.parked)
	}
	g.Each(func(_ int, l *Loop) { l.Trim() })
	after := usage()
	for _, parked := range all {
		parked.Resume()
	}
	for range n {
		wait(t, p.served)
	}
	g.Each(func(_ int, l *Loop) { l.Trim() })
	none := usage()
	heap, stack, rss := (after.heap-none.heap)/n, (after.stack-none.stack)/n, (after.rss-none.rss)/n
	t.Logf("a parked connection with a head of %d bytes: %d bytes of heap, %d of stacks, %d of resident memory; waiting in a task it had %d of heap, %d of stacks",
		len(head), heap, stack, rss, (tasks.heap-none.heap)/n, (tasks.stack-none.stack)/n)
	if got := heap + max(stack, 0); got >= 1024 || got < len(head) {
		t.Errorf("a parked connection costs %d bytes, want less than 1024", got)
	}
}

// held is how many slots of the group are in use.
func held(g *Group) (n int) {
	g.Each(func(_ int, l *Loop) { n += l.slots.inUse })
	return n
}

type memory struct{ heap, stack, rss int }

func usage() memory {
	var m runtime.MemStats
	runtime.GC()
	debug.FreeOSMemory()
	runtime.ReadMemStats(&m)
	used := memory{heap: int(m.HeapAlloc), stack: int(m.StackInuse)}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kib, _ := strconv.Atoi(f[1])
			used.rss = kib << 10
		}
	}
	return used
}

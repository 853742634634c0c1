package eventloop

import (
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// nothing is an Owner without slots.
type nothing struct{}

func (nothing) Ready(int32, session.Side, Events) {}
func (nothing) Expired(int32)                     {}
func (nothing) Again()                            {}
func (nothing) BatchDone()                        {}
func (nothing) Stopped()                          {}

// newTestGroup starts n loops and ends them with the test. It checks that no
// descriptor is left, that GOMAXPROCS is unchanged and that nothing was logged.
func newTestGroup(t *testing.T, n int, owner func(*Loop) Owner) *Group {
	t.Helper()
	fds, procs := descriptors(t), runtime.GOMAXPROCS(0)
	j := &testkit.Log{}
	if owner == nil {
		owner = func(*Loop) Owner { return nothing{} }
	}
	g, err := NewGroup(n, j.Logger(), owner)
	if err != nil {
		t.Fatal(err)
	}
	if got := runtime.GOMAXPROCS(0); got != procs+n {
		t.Errorf("GOMAXPROCS is %d with %d loops, was %d", got, n, procs)
	}
	t.Cleanup(func() {
		g.Close()
		if got := runtime.GOMAXPROCS(0); got != procs {
			t.Errorf("GOMAXPROCS is %d, was %d", got, procs)
		}
		if s := j.String(); s != "" {
			t.Errorf("logged: %s", s)
		}
		testkit.Eventually(t, "all descriptors are closed", func() bool { return descriptors(t) <= fds })
	})
	return g
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// listen serves connections on a port. The channel receives after each of them.
func listen(t *testing.T, g *Group, serve func(transport.Conn)) (netip.AddrPort, chan struct{}) {
	t.Helper()
	done := make(chan struct{}, 10_000)
	ln, err := g.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(c transport.Conn) {
		defer func() { done <- struct{}{} }()
		serve(c)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr(), done
}

func wait(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(testkit.Patience):
		t.Fatal("waited too long")
	}
}

func dial(t *testing.T, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(testkit.Patience))
	return c.(*net.TCPConn)
}

// backend is a plain listener; it is closed before the group.
func backend(t *testing.T) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener), ln.Addr().(*net.TCPAddr).AddrPort()
}

func accepted(t *testing.T, ln *net.TCPListener) net.Conn {
	t.Helper()
	ln.SetDeadline(time.Now().Add(testkit.Patience))
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(testkit.Patience))
	return c
}

// wantRead reads exactly s.
func wantRead(t *testing.T, c io.Reader, s string) {
	t.Helper()
	b := make([]byte, len(s))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != s {
		t.Fatalf("read %q (%v), want %q", b[:n], err, s)
	}
}

func wantEOF(t *testing.T, c io.Reader) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d bytes (%v), want EOF", n, err)
	}
}

func write(t *testing.T, c io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// echo is a task that sends back what it reads.
func echo(c transport.Conn) {
	buf := make([]byte, 4<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

package eventloop

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// patience bounds every wait of a test.
const patience = 20 * time.Second

// nothing is an Owner of nothing.
type nothing struct{}

func (nothing) Ready(int32, session.Side, Events) {}
func (nothing) Expired(int32)                     {}
func (nothing) Again()                            {}
func (nothing) BatchDone()                        {}
func (nothing) Stopped()                          {}

// journal is a log that a test reads.
type journal struct {
	mu   sync.Mutex // guards the following
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// newTestGroup starts n loops and ends them with the test, which then must
// have left no descriptor and GOMAXPROCS as it was. It must log nothing.
func newTestGroup(t *testing.T, n int, owner func(*Loop) Owner) *Group {
	t.Helper()
	fds, procs := descriptors(t), runtime.GOMAXPROCS(0)
	j := &journal{}
	if owner == nil {
		owner = func(*Loop) Owner { return nothing{} }
	}
	g, err := NewGroup(n, j.logger(), owner)
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
		until(t, "all descriptors are closed", func() bool { return descriptors(t) <= fds })
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

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long until %s", what)
		}
	}
}

// listen serves connections on a port of its own. The channel tells when each
// has been served.
func listen(t *testing.T, g *Group, serve func(transport.Conn)) (netip.AddrPort, chan struct{}) {
	t.Helper()
	done := make(chan struct{}, 10_000)
	ln, err := g.Listen("127.0.0.1:0", func(c transport.Conn) {
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
	case <-time.After(patience):
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
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// backend is a plain listener; it is closed before the group is.
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
	ln.SetDeadline(time.Now().Add(patience))
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
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

// echo is a task that returns what it reads until its end.
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

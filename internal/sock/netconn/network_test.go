package netconn_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/sock/netconn"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newNetwork(t *testing.T) (*netconn.Network, *testkit.Log) {
	j := &testkit.Log{}
	n := netconn.New(slog.New(slog.NewTextHandler(j, nil)))
	t.Cleanup(n.Close)
	return n, j
}

func listen(t *testing.T, n *netconn.Network, serve func(transport.Conn)) (netip.AddrPort, transport.Listener) {
	t.Helper()
	ln, err := n.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, serve)
	if err != nil {
		t.Fatal(err)
	}
	return ln.Addr(), ln
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

func echo(c transport.Conn) {
	buf := make([]byte, 1<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		c.Write(buf[:n])
	}
}

func wantEcho(t *testing.T, c net.Conn, s string) {
	t.Helper()
	io.WriteString(c, s)
	b := make([]byte, len(s))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != s {
		t.Fatalf("read %q (%v), want %q", b, err, s)
	}
}

func TestServe(t *testing.T) {
	n, j := newNetwork(t)
	got := make(chan [2]netip.AddrPort, 1)
	to, ln := listen(t, n, func(c transport.Conn) {
		got <- [2]netip.AddrPort{c.LocalAddr(), c.RemoteAddr()}
		c.CloseWrite()
		io.Copy(io.Discard, c)
	})
	c := dial(t, to)
	if a := <-got; a[0] != to || a[1].String() != c.LocalAddr().String() {
		t.Errorf("local and remote %v", a)
	}
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("read %q, %v; want EOF", b, err)
	}
	for range 2 {
		if err := ln.Close(); err != nil {
			t.Errorf("close a listener: %v", err)
		}
	}
	again, err := n.Listen(transport.ListenerSpec{Address: to.String()}, echo) // free once Close has returned
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen(transport.ListenerSpec{Address: to.String()}, echo); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second listener: %v", err)
	}
	wantEcho(t, dial(t, again.Addr()), "hello")
	n.Close()
	if s := j.String(); s != "" {
		t.Errorf("logged: %s", s)
	}
}

func TestPanic(t *testing.T) {
	n, j := newNetwork(t)
	to, _ := listen(t, n, func(c transport.Conn) {
		io.ReadFull(c, make([]byte, 1))
		panic("told to")
	})
	c := dial(t, to)
	c.Write([]byte("x"))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read: %v", err)
	}
	n.Close()
	if s := j.String(); !strings.Contains(s, "told to") || !strings.Contains(s, "network_test.go") {
		t.Errorf("the log has no trace of it: %s", s)
	}
}

func TestDeadline(t *testing.T) {
	n, _ := newNetwork(t)
	done := make(chan struct{})
	to, _ := listen(t, n, func(c transport.Conn) {
		defer close(done)
		c.SetDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v", err)
		}
	})
	dial(t, to)
	<-done
}

func TestDial(t *testing.T) {
	n, _ := newNetwork(t)
	to, _ := listen(t, n, echo)
	for _, deadline := range []time.Time{{}, time.Now().Add(testkit.Patience)} {
		c, err := n.Dial(nil, hostport.At(to), deadline)
		if err != nil {
			t.Fatal(err)
		}
		if c.RemoteAddr() != to {
			t.Errorf("connected to %v, want %v", c.RemoteAddr(), to)
		}
		c.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		for range 2 {
			c.Close()
		}
	}
	if _, err := n.Dial(nil, hostport.At(to), time.Now().Add(-time.Second)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline that has passed: %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if _, err := n.Dial(nil, hostport.At(netip.MustParseAddrPort(ln.Addr().String())), time.Time{}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port: %v", err)
	}
}

func TestDetachAndAdopt(t *testing.T) {
	n, _ := newNetwork(t)
	plain := make(chan net.Conn, 1)
	to, _ := listen(t, n, func(c transport.Conn) {
		c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		nc, err := c.Detach()
		if err != nil {
			t.Error(err)
		}
		if _, err := c.Detach(); err == nil {
			t.Error("detached twice")
		}
		if err := c.Close(); err != nil {
			t.Errorf("closing a detached Conn: %v", err)
		}
		plain <- nc
	})
	c := dial(t, to)
	nc := <-plain
	time.Sleep(60 * time.Millisecond) // the deadline went with the task
	if err := n.Adopt(nc, transport.Meta{}, []byte("first "), echo); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "and then")
	c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "first and then" {
		t.Errorf("read %q, %v", b, err)
	}
}

// TestClose: tasks that wait are unwound before it returns, and none starts after
// it.
func TestClose(t *testing.T) {
	n, _ := newNetwork(t)
	var ended sync.WaitGroup
	waiting := make(chan struct{})
	to, _ := listen(t, n, func(c transport.Conn) {
		waiting <- struct{}{}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read: %v", err)
		}
		ended.Done()
	})
	for range 5 {
		ended.Add(1)
		dial(t, to)
		<-waiting
	}
	n.Close()
	ended.Wait()
	if _, err := n.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, echo); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen: %v", err)
	}
	a, b := net.Pipe()
	defer b.Close()
	if err := n.Adopt(a, transport.Meta{}, nil, echo); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Adopt: %v", err)
	}
	if err := a.SetDeadline(time.Time{}); err != nil {
		t.Errorf("what was not adopted is still the caller's: %v", err)
	}
	a.Close()
}

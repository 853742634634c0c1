package eventloop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

func TestTaskReadsAndWrites(t *testing.T) {
	g := newTestGroup(t, 2, nil)
	reply := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB: it has to wait
	to, done := listen(t, g, func(c transport.Conn) {
		head := make([]byte, 10)
		if _, err := io.ReadFull(c, head); err != nil || string(head) != "a question" {
			t.Errorf("read %q, %v", head, err)
		}
		if c.HungUp() {
			t.Error("the client has hung up, it is said")
		}
		if n, err := c.Write(reply); n != len(reply) || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		if n, err := c.Read(head); n != 0 || err != io.EOF {
			t.Errorf("Read = %d, %v; want EOF", n, err)
		}
		if !c.HungUp() {
			t.Error("the client has not hung up, it is said")
		}
		for range 2 {
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		_, err1 := c.Read(head)
		_, err2 := c.Write(head)
		_, err3 := c.Detach()
		for _, err := range []error{err1, err2, err3, c.CloseWrite()} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("on a closed connection: %v", err)
			}
		}
	})
	c := dial(t, to)
	for _, s := range []string{"a", " ques", "tion"} {
		write(t, c, s)
		time.Sleep(time.Millisecond)
	}
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, reply) {
		t.Errorf("read %d bytes (%v), equal %v", len(got), err, bytes.Equal(got, reply))
	}
	c.Close()
	wait(t, done)
}

func TestAddresses(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	for _, address := range []string{"127.0.0.1:0", ":0", "[::1]:0"} {
		got := make(chan [2]string, 1)
		ln, err := g.Listen(transport.ListenerSpec{Address: address}, func(c transport.Conn) { got <- [2]string{c.LocalAddr().String(), c.RemoteAddr().String()} })
		if err != nil {
			t.Fatal(err)
		}
		to := ln.Addr().String()
		if address == ":0" {
			to = fmt.Sprintf("127.0.0.1:%d", ln.Addr().Port())
		}
		c, err := net.Dial("tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		if s, want := <-got, [2]string{c.RemoteAddr().String(), c.LocalAddr().String()}; s != want {
			t.Errorf("on %s: local and remote %v, want %v", address, s, want)
		}
		c.Close()
		ln.Close()
	}
}

func TestDeadlines(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	const short = 150 * time.Millisecond
	to, done := listen(t, g, func(c transport.Conn) {
		b := make([]byte, 1)
		began := time.Now()
		c.SetDeadline(began.Add(short))
		if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v", err)
		}
		if d := time.Since(began); d < short {
			t.Errorf("the deadline came after %v, before its time %v", d, short)
		}
		c.SetDeadline(time.Unix(1, 0))
		if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read with a deadline long past: %v", err)
		}
		c.SetDeadline(time.Now().Add(short))
		if n, err := c.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == 64<<20 {
			t.Errorf("Write = %d, %v", n, err)
		}
		c.SetDeadline(time.Time{})
		c.CloseWrite()
		if n, err := c.Read(b); n != 1 || err != nil { // it comes later than every deadline
			t.Errorf("Read = %d, %v", n, err)
		}
	})
	c := dial(t, to)
	time.Sleep(4 * short) // read nothing meanwhile
	io.Copy(io.Discard, c)
	write(t, c, "x")
	wait(t, done)
}

func TestDial(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	ln, addr := backend(t)
	to, done := listen(t, g, func(c transport.Conn) {
		for i := range 3 { // one after another
			b, err := g.Dial(c, hostport.At(addr), time.Now().Add(testkit.Patience))
			if err != nil {
				t.Errorf("Dial: %v", err)
				return
			}
			if b.RemoteAddr() != addr || !b.LocalAddr().IsValid() {
				t.Errorf("from %v to %v", b.LocalAddr(), b.RemoteAddr())
			}
			if _, err := g.Dial(c, hostport.At(addr), time.Time{}); err == nil {
				t.Error("a second connection beside an open one")
			}
			fmt.Fprintf(b, "hello %d", i)
			answer := make([]byte, 3)
			if _, err := io.ReadFull(b, answer); err != nil || string(answer) != "yes" {
				t.Errorf("read %q, %v", answer, err)
			}
			c.Write(answer)
			b.Close()
		}
	})
	c := dial(t, to)
	for i := range 3 {
		b := accepted(t, ln)
		wantRead(t, b, fmt.Sprintf("hello %d", i))
		write(t, b, "yes")
		wantRead(t, c, "yes")
		wantEOF(t, b)
	}
	wait(t, done)
	wantEOF(t, c)
}

// blackhole is an address whose SYNs are dropped: a listener that accepts
// nothing and whose queue is full.
func blackhole(t *testing.T) *net.TCPAddr {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	a := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*unix.SockaddrInet4).Port}
	for range 16 {
		c, err := net.DialTimeout("tcp", a.String(), 200*time.Millisecond)
		if err != nil {
			return a
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("a queue without room takes connections")
	return nil
}

func TestDialFails(t *testing.T) {
	hole := blackhole(t).AddrPort()
	ln, closed := backend(t)
	ln.Close()
	g := newTestGroup(t, 1, nil)
	to, done := listen(t, g, func(c transport.Conn) {
		if _, err := g.Dial(c, hostport.At(closed), time.Now().Add(testkit.Patience)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a closed port: %v", err)
		}
		began := time.Now()
		if _, err := g.Dial(c, hostport.At(hole), began.Add(200*time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a port without answer: %v", err)
		}
		if d := time.Since(began); d < 200*time.Millisecond || d > testkit.Patience {
			t.Errorf("gave up after %v", d)
		}
		if _, err := g.Dial(nil, hostport.At(hole), time.Time{}); err == nil {
			t.Error("beside nothing")
		}
		c.Write([]byte("go"))
		if _, err := g.Dial(c, hostport.At(hole), time.Now().Add(testkit.Patience)); err != transport.ErrHungUp {
			t.Errorf("while the client hangs up: %v", err)
		}
		c.Close()
		if _, err := g.Dial(c, hostport.At(closed), time.Time{}); err == nil {
			t.Error("beside a closed connection")
		}
	})
	c := dial(t, to)
	wantRead(t, c, "go")
	c.Close()
	wait(t, done)
}

// TestHungUp: waiting for a backend's answer ends when the client has gone.
func TestHungUp(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	ln, addr := backend(t)
	to, done := listen(t, g, func(c transport.Conn) {
		b, err := g.Dial(c, hostport.At(addr), time.Now().Add(testkit.Patience))
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := b.Read(make([]byte, 1)); err != transport.ErrHungUp {
			t.Errorf("Read: %v", err)
		}
	})
	c := dial(t, to)
	b := accepted(t, ln)
	c.Close()
	wantEOF(t, b)
	wait(t, done)
}

func TestDetachAndAdopt(t *testing.T) {
	g := newTestGroup(t, 2, nil)
	plain := make(chan net.Conn, 1)
	to, done := listen(t, g, func(c transport.Conn) {
		b := make([]byte, 4)
		io.ReadFull(c, b)
		nc, err := c.Detach()
		if err != nil {
			t.Error(err)
			return
		}
		if c.Close() != nil {
			t.Error("closing a detached Conn fails")
		}
		plain <- nc
	})
	c := dial(t, to)
	write(t, c, "headbody")
	nc := <-plain
	nc.SetDeadline(time.Now().Add(testkit.Patience))
	wantRead(t, nc, "body") // nothing was read that Read had not returned
	write(t, nc, "from Go")
	wantRead(t, c, "from Go")
	wait(t, done)

	served := make(chan struct{})
	local, remote := nc.LocalAddr().String(), nc.RemoteAddr().String()
	first := []byte("first")
	err := g.Adopt(nc, transport.Meta{}, first, func(c transport.Conn) {
		defer close(served)
		if c.LocalAddr().String() != local || c.RemoteAddr().String() != remote {
			t.Errorf("from %v to %v", c.RemoteAddr(), c.LocalAddr())
		}
		echo(c)
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, c, " and then")
	c.CloseWrite()
	wantRead(t, c, "first and then")
	wantEOF(t, c)
	<-served
	if _, err := nc.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing to an adopted connection: %v", err)
	}
	if p, _ := net.Pipe(); g.Adopt(p, transport.Meta{}, nil, echo) == nil {
		t.Error("a pipe was adopted")
	}
}

func TestManyTasks(t *testing.T) {
	g := newTestGroup(t, 2, nil)
	to, done := listen(t, g, echo)
	const n, rounds = 400, 5
	var work sync.WaitGroup
	for range n {
		c := dial(t, to)
		work.Go(func() {
			b := make([]byte, 10)
			for i := range rounds {
				s := fmt.Sprintf("message %2d", i)
				c.Write([]byte(s))
				if _, err := io.ReadFull(c, b); err != nil || string(b) != s {
					t.Errorf("read %q, %v", b, err)
					return
				}
			}
			c.Close()
		})
	}
	work.Wait()
	for range n {
		wait(t, done)
	}
	before, kept := runtime.NumGoroutine(), 0
	g.Each(func(_ int, l *Loop) {
		n := len(l.freeTasks)
		if kept += n; n == 0 || n > maxFreeTasks {
			t.Errorf("%d coroutines are kept", n)
		}
		l.Trim()
		if l.slots.inUse != 0 {
			t.Errorf("%d slots are in use", l.slots.inUse)
		}
	})
	testkit.Eventually(t, "the coroutines have ended", func() bool { return runtime.NumGoroutine() <= before-kept })
	c := dial(t, to) // and there are new ones
	write(t, c, "again")
	wantRead(t, c, "again")
}

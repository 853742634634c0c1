package eventloop

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// mate is an Owner that takes one slot and knows its sockets.
type mate struct {
	*Loop
	ready chan session.Side
	then  func()
}

func (m *mate) Ready(_ int32, side session.Side, _ Events) { m.ready <- side }
func (m *mate) Expired(int32)                              {}
func (m *mate) BatchDone()                                 {}
func (m *mate) Stopped()                                   {}
func (m *mate) Again() {
	if f := m.then; f != nil {
		m.then = nil
		f()
	}
}

// on runs f on the only loop and waits for it.
func on(g *Group, f func(l *Loop)) { g.Each(func(_ int, l *Loop) { f(l) }) }

func accepting(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	ln.(*net.TCPListener).SetDeadline(time.Now().Add(testkit.Patience))
	return ln.(*net.TCPListener)
}

// TestSpawn: a task without a client dials, and its connection becomes a side of a
// slot in place of another one.
func TestSpawn(t *testing.T) {
	ln := accepting(t)
	var m *mate
	g := newTestGroup(t, 1, func(l *Loop) Owner {
		m = &mate{Loop: l, ready: make(chan session.Side, 100)}
		return m
	})
	done := make(chan Socket, 1)
	serve := func(parent transport.Conn) {
		if _, err := parent.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read of nothing: %v", err)
		}
		if _, err := parent.Write([]byte("x")); err == nil {
			t.Error("nothing can be written to")
		}
		if parent.HungUp() || parent.RemoteAddr().IsValid() || parent.LocalAddr().IsValid() {
			t.Error("nothing has addresses, or hung up")
		}
		parent.SetDeadline(time.Now().Add(-time.Second)) // bounds nothing
		if _, err := m.ReleaseDialled(parent); err == nil {
			t.Error("nothing is released")
		}
		c, err := g.Dial(parent, hostport.At(ln.Addr().(*net.TCPAddr).AddrPort()), time.Now().Add(testkit.Patience))
		if err != nil {
			t.Error(err)
			return
		}
		buf := make([]byte, 5)
		if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
			t.Errorf("%q, %v", buf, err)
		}
		s, err := m.ReleaseDialled(c)
		if err != nil {
			t.Error(err)
		}
		if _, err := m.ReleaseDialled(c); err == nil {
			t.Error("it is released twice")
		}
		done <- s
	}
	var kill func()
	on(g, func(l *Loop) {
		var ok bool
		if kill, ok = l.Spawn(serve); !ok {
			t.Error("no task")
		}
	})
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	time.Sleep(20 * time.Millisecond) // so that it waits
	c.Write([]byte("hello"))
	s := <-done
	on(g, func(*Loop) { kill() }) // does nothing any more
	c.Write([]byte("while nobody's"))
	time.Sleep(20 * time.Millisecond)
	if len(m.ready) != 0 {
		t.Error("the owner hears of a socket that it hasn't taken")
	}
	var slot int32
	on(g, func(l *Loop) {
		slot = l.slots.take()
		m.then = func() {
			if err := l.Attach(s, slot, session.Backend); err != nil {
				t.Error(err)
			}
		}
		l.CallAgain()
	})
	if side := <-m.ready; side != session.Backend {
		t.Errorf("the %s's socket is ready", side)
	}
	buf := make([]byte, 100)
	if n, e := Recv(s.FD, buf); e != 0 || string(buf[:n]) != "while nobody's" {
		t.Errorf("%q, %v", buf[:n], e)
	}
	on(g, func(l *Loop) {
		CloseFD(s.FD)
		l.Free(slot)
		if err := l.Attach(s, slot, session.Backend); err == nil {
			t.Error("a closed socket is taken")
		}
	})
}

// TestSpawnKilled: wherever a task waits, it has ended when kill returns, or when
// its loop has ended.
func TestSpawnKilled(t *testing.T) {
	for _, where := range []string{"read", "deaf address", "loop"} {
		g := newTestGroup(t, 1, nil)
		ln := accepting(t)
		hole := blackhole(t).AddrPort()
		var ended error
		serve := func(parent transport.Conn) {
			addr := ln.Addr().(*net.TCPAddr).AddrPort()
			if where == "deaf address" {
				addr = hole
			}
			c, err := g.Dial(parent, hostport.At(addr), time.Time{})
			if err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			if ended = err; err == nil {
				ended = errors.New("it read something")
			}
			if _, err := g.Dial(parent, hostport.At(addr), time.Time{}); err == nil {
				t.Error("a killed task dials")
			}
		}
		var kill func()
		on(g, func(l *Loop) { kill, _ = l.Spawn(serve) })
		time.Sleep(20 * time.Millisecond)
		if where == "loop" {
			g.Close()
		} else {
			on(g, func(*Loop) { kill(); kill() })
		}
		if !errors.Is(ended, net.ErrClosed) {
			t.Errorf("%s: %v", where, ended)
		}
	}
}

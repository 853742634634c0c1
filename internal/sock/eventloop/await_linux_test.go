package eventloop

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// TestAwait: a task goes on when what it waits for is done, wherever that happens, and
// not for the bytes that come meanwhile.
func TestAwait(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	starts, ended := make(chan func(), 1), make(chan error, 2)
	to, _ := listen(t, g, func(c transport.Conn) {
		c.SetDeadline(time.Now().Add(testkit.Patience))
		ended <- transport.Await(c, func(done func()) { done() }) // at once
		ended <- transport.Await(layered{c}, func(done func()) { starts <- done })
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		write(t, c, "y")
	})
	c := dial(t, to)
	if err := testkit.Receive(t, "it goes on", ended); err != nil {
		t.Error(err)
	}
	done := testkit.Receive(t, "it waits", starts)
	write(t, c, "x")
	g.Each(func(int, *Loop) {})
	select {
	case err := <-ended:
		t.Errorf("it didn't wait: %v", err)
	default:
	}
	done()
	if err := testkit.Receive(t, "it goes on", ended); err != nil {
		t.Error(err)
	}
	wantRead(t, c, "y")
}

// TestAwaitEnds: it ends with the client or at the deadline, and what is done later
// disturbs no other task.
func TestAwaitEnds(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	dones, ended := make(chan func(), 10), make(chan error, 10)
	to, _ := listen(t, g, func(c transport.Conn) {
		b := make([]byte, 1)
		if _, err := c.Read(b); err != nil {
			return
		}
		if b[0] == 'd' {
			c.SetDeadline(time.Now().Add(100 * time.Millisecond))
		}
		ended <- transport.Await(c, func(done func()) { dones <- done })
		if b[0] == 'c' {
			c.Close()
			ended <- transport.Await(c, func(done func()) {})
		}
	})
	c := dial(t, to)
	write(t, c, "l")
	late := testkit.Receive(t, "it waits", dones)
	c.Close()
	if err := testkit.Receive(t, "it ends", ended); err != io.EOF {
		t.Errorf("of a client that has gone: %v", err)
	}
	write(t, dial(t, to), "d")
	later := testkit.Receive(t, "it waits", dones)
	if err := testkit.Receive(t, "it ends", ended); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after its deadline: %v", err)
	}
	write(t, dial(t, to), "c") // probably on the task of one before
	done := testkit.Receive(t, "it waits", dones)
	late()
	later()
	g.Each(func(int, *Loop) {})
	select {
	case err := <-ended:
		t.Errorf("another one's end has ended it: %v", err)
	default:
	}
	done()
	if err := testkit.Receive(t, "it goes on", ended); err != nil {
		t.Error(err)
	}
	if err := testkit.Receive(t, "it ends", ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("of a closed connection: %v", err)
	}
}

// TestAwaitIsKilled: the end of the loop ends it.
func TestAwaitIsKilled(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	starts, ended := make(chan func(), 1), make(chan error, 1)
	to, _ := listen(t, g, func(c transport.Conn) {
		ended <- transport.Await(c, func(done func()) { starts <- done })
	})
	dial(t, to)
	done := testkit.Receive(t, "it waits", starts)
	g.Close()
	if err := testkit.Receive(t, "it ends", ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it ended with %v", err)
	}
	done()
}

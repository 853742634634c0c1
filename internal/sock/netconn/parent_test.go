package netconn_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/netconn"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// TestParent: a connection that was dialled with a Parent ends with it, unless it
// was released.
func TestParent(t *testing.T) {
	n := netconn.New(nil)
	defer n.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	to := ln.Addr().(*net.TCPAddr).AddrPort()
	parent := n.NewParent()
	if _, err := parent.Read(make([]byte, 1)); err == nil || parent.SetDeadline(time.Now()) != nil || parent.RemoteAddr().IsValid() {
		t.Error("there is something behind it")
	}
	for _, taken := range []bool{false, true} {
		parent := n.NewParent()
		c, err := n.Dial(parent, hostport.At(to), time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		far, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if taken {
			parent.Release()
		}
		parent.Close()
		parent.Close()
		far.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); (err == nil) != taken {
			t.Errorf("taken %v: %v", taken, err)
		}
		if _, err := n.Dial(parent, hostport.At(to), time.Now().Add(time.Minute)); !errors.Is(err, context.Canceled) {
			t.Errorf("dial beside what is closed: %v", err)
		}
		c.Close()
		far.Close()
	}
	parent.Close()
	if _, err := parent.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write: %v", err)
	}
}

// layered is a connection on another one.
type layered struct{ transport.Conn }

func (l layered) Inner() transport.Conn { return l.Conn }

// TestLayeredParent: a layer on the client's connection makes no difference.
func TestLayeredParent(t *testing.T) {
	n, _ := newNetwork(t)
	backend, _, _ := silent(t)
	served := make(chan error, 1)
	to, _ := listen(t, n, func(c transport.Conn) {
		b, err := n.Dial(layered{c}, hostport.At(backend), time.Now().Add(testkit.Patience))
		if err != nil {
			served <- err
			return
		}
		defer b.Close()
		c.Write([]byte("go"))
		_, err = b.Read(make([]byte, 1))
		served <- err
	})
	c := dial(t, to)
	if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := testkit.Receive(t, "the task ends", served); err != transport.ErrHungUp {
		t.Error(err)
	}
	parent := n.NewParent()
	if c, err := n.Dial(layered{parent}, hostport.At(backend), time.Now().Add(testkit.Patience)); err != nil {
		t.Error(err)
	} else {
		defer c.Close()
	}
	parent.Close()
}

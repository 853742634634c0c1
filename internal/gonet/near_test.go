package gonet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/gonet"
)

// TestNear: what was dialled beside a Near ends with it, unless it was taken.
func TestNear(t *testing.T) {
	n := gonet.New(nil)
	defer n.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	to := ln.Addr().(*net.TCPAddr).AddrPort()
	near := n.Near()
	if _, err := near.Read(make([]byte, 1)); err == nil || near.SetDeadline(time.Now()) != nil || near.RemoteAddr().IsValid() {
		t.Error("there is something behind it")
	}
	for _, taken := range []bool{false, true} {
		near := n.Near()
		c, err := n.Dial(near, to, time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		far, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if taken {
			near.Take()
		}
		near.Close()
		near.Close()
		far.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); (err == nil) != taken {
			t.Errorf("taken %v: %v", taken, err)
		}
		if _, err := n.Dial(near, to, time.Now().Add(time.Minute)); !errors.Is(err, context.Canceled) {
			t.Errorf("dial beside what is closed: %v", err)
		}
		c.Close()
		far.Close()
	}
	near.Close()
	if _, err := near.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write: %v", err)
	}
}

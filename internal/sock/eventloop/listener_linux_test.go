package eventloop

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

func TestListenAfterClose(t *testing.T) {
	g := newTestGroup(t, 2, nil)
	g.Close()
	if ln, err := g.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, echo); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen after Close = %v, %v", ln, err)
	}
}

// TestPortInUse: SO_REUSEPORT must not let two groups share a port unnoticed.
func TestPortInUse(t *testing.T) {
	g1, g2 := newTestGroup(t, 2, nil), newTestGroup(t, 2, nil)
	ln, err := g1.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, echo)
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	for _, g := range []*Group{g1, g2} {
		_, err := g.Listen(transport.ListenerSpec{Address: address}, echo)
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), address) {
			t.Errorf("a second listener on %s: %v", address, err)
		}
	}
	ln.Close()
	ln, err = g2.Listen(transport.ListenerSpec{Address: address}, echo) // free once Close has returned
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := dial(t, ln.Addr())
	write(t, c, "x")
	wantRead(t, c, "x")
	for _, bad := range []string{"127.0.0.1", "127.0.0.1:99999", "nowhere.invalid:1"} {
		if _, err := g1.Listen(transport.ListenerSpec{Address: bad}, echo); err == nil {
			t.Errorf("listens on %q", bad)
		}
	}
}

// TestListenerCloseServesTheQueue: connections that the kernel has accepted are
// served.
func TestListenerCloseServesTheQueue(t *testing.T) {
	g := newTestGroup(t, 2, nil)
	ln, err := g.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, echo)
	if err != nil {
		t.Fatal(err)
	}
	open := dial(t, ln.Addr())
	write(t, open, "a")
	wantRead(t, open, "a")
	hold := make(chan struct{})
	for _, l := range g.loops {
		l.Post(func() { <-hold }) // so that nothing is accepted meanwhile
	}
	var conns []net.Conn
	for range 200 {
		conns = append(conns, dial(t, ln.Addr()))
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		ln.Close()
	}()
	close(hold)
	<-closed
	if c, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		c.Close()
		t.Error("a closed listener takes connections")
	}
	for _, c := range append(conns, open) {
		write(t, c, "served")
		wantRead(t, c, "served")
	}
	if err := ln.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

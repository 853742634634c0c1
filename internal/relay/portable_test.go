package relay_test

import (
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// A client that takes nothing at all doesn't even get the keepalive ping. Its silence
// ends the session nevertheless.
func TestPortablePingBlocks(t *testing.T) {
	backends, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backends.Close()
	ends := make(chan session.Summary, 1)
	e := relay.NewPortable(quick, slog.New(slog.NewTextHandler(complaints{t}, nil)), func(s session.Summary) { ends <- s })
	defer e.Close()
	parent, far := net.Pipe() // has no buffer: what isn't read isn't written
	defer far.Close()
	err = e.Adopt(parent, transport.Meta{}, nil, func(c transport.Conn) {
		b, err := e.Dial(c, hostport.At(backends.Addr().(*net.TCPAddr).AddrPort()), time.Now().Add(patience))
		if err != nil {
			t.Error(err)
			return
		}
		limits := relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 200 * time.Millisecond}
		if err := e.Start(c, b, relay.Start{Limits: limits}); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := backends.Accept()
	if err != nil {
		t.Fatal(err)
	}
	b := newPeer(t, session.Backend, c)
	<-b.answer(nil)
	b.TCPConn.Close()
	select {
	case s := <-ends:
		if s.Cause != session.ClientSilent {
			t.Errorf("ended with %s", s.Cause)
		}
	case <-time.After(patience):
		t.Error("the session goes on")
	}
}

package transport_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/sock/netconn"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// eachNetwork runs f with both implementations.
func eachNetwork(t *testing.T, f func(*testing.T, transport.Network)) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	group, err := eventloop.NewGroup(2, log, func(*eventloop.Loop) eventloop.Owner { return noSessions{} })
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	goroutines := netconn.New(log)
	defer goroutines.Close()
	t.Run("eventloop", func(t *testing.T) { f(t, group) })
	t.Run("netconn", func(t *testing.T) { f(t, goroutines) })
}

// echoTo copies what comes on c to b and back, until c ends.
func echoTo(c, b transport.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err = b.Write(buf[:n]); err == nil {
			_, err = io.ReadFull(b, buf[:n])
		}
		if err == nil {
			_, err = c.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

func unixEcho(t *testing.T) (path string) {
	t.Helper()
	path = testkit.SocketPath(t)
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	return path
}

// TestUnixSockets: clients and backends by unix sockets, with more bytes than a socket
// takes at once, also after a Detach and an Adopt.
func TestUnixSockets(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network transport.Network) {
		backend := hostport.Endpoint{Path: unixEcho(t)}
		path := testkit.SocketPath(t)
		ended := make(chan error, 10)
		relay := func(c transport.Conn) {
			m := c.Meta()
			if m.Peer != hostport.UnixPeer || m.Local != hostport.UnixPeer || m.ListenerName() != "local" {
				t.Errorf("%+v", m)
			}
			b, err := network.Dial(c, backend, time.Now().Add(testkit.Patience))
			if err != nil {
				ended <- err
				return
			}
			defer b.Close()
			if b.RemoteAddr() != hostport.UnixPeer {
				t.Errorf("the backend's address is %v", b.RemoteAddr())
			}
			c.SetDeadline(time.Now().Add(testkit.Patience))
			b.SetDeadline(time.Now().Add(testkit.Patience))
			echoTo(c, b)
			ended <- nil
		}
		ln, err := network.Listen(transport.ListenerSpec{Name: "local", Address: "unix:" + path, SocketMode: 0o600}, func(c transport.Conn) {
			var mode [1]byte
			if _, err := io.ReadFull(c, mode[:]); err != nil {
				return // another listener that looks whether somebody is there
			}
			if mode[0] == 'r' {
				relay(c)
				return
			}
			m := c.Meta()
			nc, err := c.Detach()
			if err == nil {
				err = network.Adopt(nc, m, nil, relay)
			}
			if err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if ln.Addr() != hostport.UnixPeer {
			t.Errorf("it listens on %v", ln.Addr())
		}
		text := strings.Repeat("0123456789abcdef", 64<<10)
		for _, mode := range []string{"r", "d", "r", "r"} {
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(testkit.Patience))
			go io.WriteString(c, mode+text)
			got := make([]byte, len(text))
			if n, err := io.ReadFull(c, got); err != nil || string(got) != text {
				t.Errorf("%d bytes of %d came back, %v", n, len(text), err)
			}
			c.Close()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if _, err := network.Listen(transport.ListenerSpec{Address: "unix:" + path}, nil); err == nil || !strings.Contains(err.Error(), "another process listens") {
			t.Errorf("a second listener: %v", err)
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// TestUnixDialFails: nobody is there, or nothing.
func TestUnixDialFails(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network transport.Network) {
		gone := testkit.SocketPath(t)
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: gone, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ln.SetUnlinkOnClose(false)
		ln.Close()
		done := make(chan struct{})
		front, err := network.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(c transport.Conn) {
			defer close(done)
			for path, want := range map[string]error{gone: syscall.ECONNREFUSED, gone + "x": syscall.ENOENT} {
				if _, err := network.Dial(c, hostport.Endpoint{Path: path}, time.Now().Add(testkit.Patience)); !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", path, err, want)
				}
			}
			if _, err := network.Dial(c, hostport.Endpoint{Path: "/" + strings.Repeat("x", 200)}, time.Time{}); err == nil {
				t.Error("a path that is too long")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer front.Close()
		c, err := net.Dial("tcp", front.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		<-done
	})
}

// TestIntroduce: what a proxy has said stays with the connection, and what followed its
// header is read first.
func TestIntroduce(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network transport.Network) {
		told := transport.Meta{Peer: netip.MustParseAddrPort("203.0.113.9:1"), Local: netip.MustParseAddrPort("198.51.100.2:2"),
			Front: &transport.Front{Proxy: netip.MustParseAddrPort("192.0.2.1:3")}}
		check := func(c transport.Conn) {
			if m := c.Meta(); m.Peer != told.Peer || m.Local != told.Local || m.Front != told.Front {
				t.Errorf("%+v", m)
			}
		}
		done := make(chan string, 1)
		again := func(c transport.Conn) {
			check(c)
			got := make([]byte, 9)
			io.ReadFull(c, got)
			done <- string(got)
		}
		ln, err := network.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(c transport.Conn) {
			if err := transport.Introduce(c, told, []byte("before ")); err != nil {
				t.Error(err)
			}
			check(c)
			first := make([]byte, 7)
			if _, err := io.ReadFull(c, first); err != nil || string(first) != "before " {
				t.Errorf("read %q, %v", first, err)
			}
			parked, err := c.Park(first, func(c transport.Conn) {
				check(c)
				c.Read(first)
				m := c.Meta()
				nc, err := c.Detach()
				if err == nil {
					err = network.Adopt(nc, m, first, again)
				}
				if err != nil {
					t.Error(err)
				}
			}, func() {})
			if err != nil {
				t.Error(err)
				return
			}
			parked.Resume()
		})
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "go")
		if got := <-done; got != "before go" {
			t.Errorf("read %q", got)
		}
	})
	if err := transport.Introduce(nil, transport.Meta{}, nil); err == nil {
		t.Error("a connection of no network")
	}
}

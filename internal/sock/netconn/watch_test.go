package netconn_test

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/netconn"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// silent is a server that accepts one connection and sends nothing except what say
// has.
func silent(t *testing.T) (to netip.AddrPort, say chan string, ended chan bool) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	say, ended = make(chan string), make(chan bool, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		go func() {
			for text := range say {
				io.WriteString(c, text)
			}
		}()
		io.Copy(io.Discard, c)
		ended <- true
	}()
	t.Cleanup(func() { close(say) })
	return ln.Addr().(*net.TCPAddr).AddrPort(), say, ended
}

// TestHungUp: waiting for a backend's answer ends when the client has gone,
// whatever it has sent before.
func TestHungUp(t *testing.T) {
	for name, sent := range map[string]string{"silent": "", "with early bytes": strings.Repeat("early", 2000)} {
		for how, leave := range map[string]func(*net.TCPConn){
			"closes":      func(c *net.TCPConn) { c.Close() },
			"resets":      func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
			"half-closes": func(c *net.TCPConn) { c.CloseWrite() },
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				n, _ := newNetwork(t)
				backend, _, ended := silent(t)
				served := make(chan error, 1)
				to, _ := listen(t, n, func(c transport.Conn) {
					b, err := n.Dial(c, hostport.At(backend), time.Now().Add(testkit.Patience))
					if err != nil {
						served <- err
						return
					}
					defer b.Close()
					c.Write([]byte("go"))
					_, err = b.Read(make([]byte, 1))
					if err == transport.ErrHungUp && !c.HungUp() {
						t.Error("HungUp doesn't tell")
					}
					if _, err := n.Dial(c, hostport.At(backend), time.Time{}); err != transport.ErrHungUp {
						t.Errorf("dialling for a client that has gone: %v", err)
					}
					served <- err
				})
				c := dial(t, to)
				if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
					t.Fatal(err)
				}
				io.WriteString(c, sent)
				leave(c)
				if err := <-served; err != transport.ErrHungUp {
					t.Errorf("Read: %v", err)
				}
				select {
				case <-ended:
				case <-time.After(testkit.Patience):
					t.Error("the backend's connection is still open")
				}
			})
		}
	}
}

// TestWaitingLosesNothing: what a client sends while its backend is being waited
// for can be read afterwards, and deadlines are unchanged.
func TestWaitingLosesNothing(t *testing.T) {
	const early = "early bytes"
	n, _ := newNetwork(t)
	backend, say, _ := silent(t)
	to, _ := listen(t, n, func(c transport.Conn) {
		b, err := n.Dial(c, hostport.At(backend), time.Now().Add(testkit.Patience))
		if err != nil {
			t.Error(err)
			return
		}
		defer b.Close()
		for range 50 {
			c.Write([]byte("go"))
			buf := make([]byte, 1)
			if _, err := b.Read(buf); err != nil || buf[0] != 'x' {
				t.Errorf("read %q, %v", buf, err)
			}
			got := make([]byte, len(early))
			if _, err := io.ReadFull(reader{c}, got); err != nil || string(got) != early {
				t.Errorf("of the client, read %q, %v", got, err)
			}
		}
		for _, x := range []transport.Conn{b, c} {
			x.SetDeadline(time.Now().Add(-time.Second))
			if _, err := x.Read(make([]byte, 1)); err == nil || !os.IsTimeout(err) {
				t.Errorf("after the deadline: %v", err)
			}
		}
		c.SetDeadline(time.Time{})
		c.Write([]byte("ok"))
		first := c.(*netconn.Conn).First()
		if len(first) > 0 {
			t.Errorf("%q is left", first)
		}
	})
	c := dial(t, to)
	for i := range 51 {
		got := make([]byte, 2)
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		if i == 50 {
			break
		}
		io.WriteString(c, early[:5])
		say <- "x"
		io.WriteString(c, early[5:])
	}
}

type reader struct{ transport.Conn }

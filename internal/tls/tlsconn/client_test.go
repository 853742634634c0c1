package tlsconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// crypto is a server by crypto/tls. It calls serve for each connection whose
// handshake is done.
func crypto(t testing.TB, config *tls.Config, serve func(*tls.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(testkit.Patience))
			if err := c.(*tls.Conn).Handshake(); err == nil {
				serve(c.(*tls.Conn))
			}
			c.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-served
	})
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// asClient runs do in a task that has dialled to.
func asClient(t testing.TB, n transport.Network, to netip.AddrPort, do func(transport.Conn)) {
	t.Helper()
	done := make(chan struct{})
	via := listen(t, n, func(parent transport.Conn) {
		defer close(done)
		c, err := n.Dial(parent, hostport.At(to), time.Now().Add(testkit.Patience))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		do(c)
	})
	c := dial(t, via)
	testkit.Receive(t, "the task ends", done)
	c.Close()
}

// secured is asClient with a handshake.
func secured(t testing.TB, n transport.Network, to netip.AddrPort, config *Config, do func(*Conn)) {
	t.Helper()
	asClient(t, n, to, func(c transport.Conn) {
		s, err := Client(c, config, hostport.At(to))
		if err != nil {
			t.Errorf("handshake: %v", err)
			return
		}
		defer s.Close()
		do(s)
	})
}

// exchange sends a word that is echoed.
func exchange(t testing.TB, c transport.Conn) {
	t.Helper()
	got := make([]byte, 5)
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
}

// showsLarge shows a certificate that makes tickets longer than a record.
func (p *pki) showsLarge(c *tls.Config) {
	var names []string
	for i := range 700 {
		names = append(names, fmt.Sprintf("name-number-%d.client.example", i))
	}
	c.Certificates = []tls.Certificate{p.ca.Issue(names...).TLS}
}

// TestClient: a server of crypto/tls, and sessions that are resumed there.
func TestClient(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		for _, v := range append(p.variants(), variant{"large client certificate", p.showsLarge, p.demands}) {
			server, base := p.serverConfig(), p.clientConfig()
			v.server(server)
			v.client(base)
			to := crypto(t, server, func(c *tls.Conn) { io.Copy(c, c) })
			base.ClientSessionCache = tls.NewLRUClientSessionCache(10)
			config := NewConfig(base)
			for i := range 4 {
				secured(t, n, to, config, func(c *Conn) {
					exchange(t, c)
					if f := c.Facts(); f.Resumed != (i > 0 && !server.SessionTicketsDisabled) || f.Protocol != "http/1.1" || f.Certificate == nil {
						t.Errorf("%s, connection %d: %+v", v.name, i, f)
					}
					if err := c.CloseWrite(); err != nil {
						t.Error(err)
					}
					if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
						t.Errorf("read %d, %v", n, err)
					}
				})
			}
		}
	})
}

// TestTruncated: an end without a close_notify is no end of the data for a client.
func TestTruncated(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		to := crypto(t, p.serverConfig(), func(c *tls.Conn) {
			io.WriteString(c, "hello")
			c.NetConn().Close()
		})
		secured(t, n, to, NewConfig(p.clientConfig()), func(c *Conn) {
			got := make([]byte, 5)
			if _, err := io.ReadFull(c, got); err != nil {
				t.Error(err)
			}
			if _, err := c.Read(got); err == io.EOF || !errors.Is(err, io.EOF) || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	})
}

// TestTicketsByAddress: two servers under one name don't know each other's tickets, and
// sessions are resumed with both.
func TestTicketsByAddress(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		versions(t, p, func(t *testing.T, base *tls.Config) {
			base.ClientSessionCache = tls.NewLRUClientSessionCache(10)
			config := NewConfig(base)
			var servers [2]netip.AddrPort
			for i := range servers {
				servers[i] = crypto(t, p.serverConfig(), func(c *tls.Conn) { io.Copy(c, c) })
			}
			for i := range 6 {
				secured(t, n, servers[i%2], config, func(c *Conn) {
					exchange(t, c)
					if got := c.Facts().Resumed; got != (i >= 2) {
						t.Errorf("connection %d: resumed is %v", i, got)
					}
				})
			}
		})
	})
}

package tlsconn

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/netconn"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// networks make the networks that connections are tested on.
var networks = map[string]func(testing.TB) transport.Network{"portable": newPortable}

func newPortable(t testing.TB) transport.Network {
	log := &testkit.Log{}
	n := netconn.New(log.Logger())
	t.Cleanup(func() {
		n.Close()
		if s := log.String(); s != "" {
			t.Errorf("logged: %s", s)
		}
	})
	return n
}

func eachNetwork(t *testing.T, test func(t *testing.T, n transport.Network)) {
	for name, newNetwork := range networks {
		t.Run(name, func(t *testing.T) { test(t, newNetwork(t)) })
	}
}

// pki has the certificates of a test.
type pki struct {
	ca             *testca.CA
	server, client *testca.Pair
}

func newPKI(t testing.TB) *pki {
	ca := testca.New(t)
	return &pki{ca, ca.Issue("test.example", "127.0.0.1"), ca.Issue("client.example")}
}

func (p *pki) serverConfig() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{p.server.TLS}, NextProtos: []string{"http/1.1"}}
}

func (p *pki) clientConfig() *tls.Config {
	return &tls.Config{RootCAs: p.ca.Pool(), ServerName: "test.example", NextProtos: []string{"http/1.1"}}
}

// listen calls serve for each connection.
func listen(t testing.TB, n transport.Network, serve func(transport.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := n.Listen(transport.ListenerSpec{Name: "public", Address: "127.0.0.1:0"}, func(c transport.Conn) {
		c.SetDeadline(time.Now().Add(testkit.Patience))
		serve(c)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr()
}

// listenTLS calls serve for each connection whose handshake is done. Others fail the
// test.
func listenTLS(t testing.TB, n transport.Network, base *tls.Config, serve func(*Conn)) netip.AddrPort {
	t.Helper()
	config := NewConfig(base)
	return listen(t, n, func(c transport.Conn) {
		s, err := Server(c, config)
		if err != nil {
			t.Errorf("handshake: %v", err)
			c.Close()
			return
		}
		defer s.Close()
		serve(s)
	})
}

// echo sends back what it reads, until the end.
func echo(t testing.TB) func(*Conn) {
	return func(c *Conn) {
		buf := make([]byte, 20<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				// The client, or the network, may be closed at the end of the test.
				if err != io.EOF && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("read: %v", err)
				}
				return
			}
			if _, err := c.Write(buf[:n]); err != nil {
				t.Errorf("write: %v", err)
				return
			}
		}
	}
}

func dial(t testing.TB, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(testkit.Patience))
	return c.(*net.TCPConn)
}

// dialTLS makes the handshake by crypto/tls.
func dialTLS(t testing.TB, to netip.AddrPort, config *tls.Config) *tls.Conn {
	t.Helper()
	c := tls.Client(dial(t, to), config)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// wantEcho sends some data of many sizes over c, whose peer echoes, and reads them.
func wantEcho(t testing.TB, c io.ReadWriter) {
	t.Helper()
	for _, size := range []int{1, 100, 5000, 16 << 10, 50_000} {
		sent, got := random(size), make([]byte, size)
		written := make(chan error, 1)
		go func() {
			_, err := c.Write(sent)
			written <- err
		}()
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(sent, got) {
			t.Fatalf("of %d bytes others came back, %v", size, err)
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	}
}

func wantEOF(t testing.TB, c io.Reader) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d bytes (%v), want EOF", n, err)
	}
}

// failure returns the HandshakeError in err.
func failure(t testing.TB, err error) *HandshakeError {
	t.Helper()
	var failed *HandshakeError
	if !errors.As(err, &failed) {
		t.Fatalf("%v (%T) is no HandshakeError", err, err)
	}
	return failed
}

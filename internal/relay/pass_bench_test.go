package relay_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// BenchmarkPass sends a message to a backend, which sends it back, over loopback, through
// sessions without TLS and through those with TLS on the client's side. Both ends are in
// this process, but only the engine's loops allocate. The plain path must not.
func BenchmarkPass(b *testing.B) {
	for _, e := range engines {
		for _, sides := range []speaksTLS{{false, false}, {true, false}} {
			for _, size := range []int{64, 1024, 16 << 10} {
				name := map[bool]string{false: "plain", true: "tls"}[sides[session.Client]]
				b.Run(fmt.Sprintf("%s/%s/%d", e.name, name, size), func(b *testing.B) {
					e.tls = sides
					benchmarkPass(b, e, size)
				})
			}
		}
	}
}

func benchmarkPass(b *testing.B, e engine, size int) {
	engine, err := e.make(relay.DefaultTimes, slog.New(slog.DiscardHandler), func(session.Summary) {})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(engine.Close)
	backends, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { backends.Close() })
	ln, err := engine.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(c transport.Conn) {
		c.SetDeadline(time.Now().Add(patience))
		near, err := engine.Dial(c, hostport.At(backends.Addr().(*net.TCPAddr).AddrPort()), time.Now().Add(patience))
		if err == nil && e.tls[session.Client] {
			c, err = tlsconn.Server(c, tlsFor(b).server)
		}
		if err == nil {
			err = engine.Start(c, near, relay.Start{Info: session.Info{ID: session.NewID(), Started: time.Now()}})
		}
		if err != nil {
			b.Error(err)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	backend, err := backends.Accept()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { backend.Close() })
	if e.tls[session.Client] {
		c = tls.Client(c, tlsFor(b).peerClient)
	}
	up, down := wire(fin|2, true, make([]byte, size)), wire(fin|2, false, make([]byte, size))
	go func() {
		buf := make([]byte, len(up))
		for {
			if _, err := io.ReadFull(backend, buf); err != nil {
				return
			}
			if _, err := backend.Write(down); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, len(down))
	b.ReportAllocs()
	b.SetBytes(int64(2 * size))
	for b.Loop() {
		if _, err := c.Write(up); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
}

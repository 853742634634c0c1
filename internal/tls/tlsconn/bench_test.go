//go:build unix

package tlsconn

import (
	"crypto/tls"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// pipe is a transport.Conn on one end of a net.Pipe.
type pipe struct {
	transport.Conn // for the methods that are not used
	nc             net.Conn
}

func (p *pipe) Read(b []byte) (int, error)  { return p.nc.Read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.nc.Write(b) }

// processorTime is that of this process.
func processorTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkHandshake measures both ends of a handshake: with crypto/tls at the server,
// and with this package. The difference is what is ours.
func BenchmarkHandshake(b *testing.B) {
	p := newPKI(b)
	base := p.serverConfig()
	config := NewConfig(base)
	servers := map[string]func(net.Conn) error{
		"crypto": func(c net.Conn) error { return tls.Server(c, base).Handshake() },
		"ours": func(c net.Conn) error {
			_, err := Server(&pipe{nc: c}, config)
			return err
		},
	}
	for _, kind := range []string{"full", "resumed"} {
		for _, name := range []string{"crypto", "ours"} {
			b.Run(kind+"/"+name, func(b *testing.B) {
				client := p.clientConfig()
				client.CurvePreferences = []tls.CurveID{tls.X25519}
				if kind == "resumed" {
					client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				}
				connect := func() {
					near, far := net.Pipe()
					done := make(chan error, 1)
					go func() { done <- servers[name](far) }()
					c := tls.Client(near, client)
					if err := c.Handshake(); err != nil {
						b.Fatal(err)
					}
					if kind == "resumed" { // its ticket
						near.SetReadDeadline(time.Now())
						c.Read(make([]byte, 1))
					}
					if err := <-done; err != nil {
						b.Fatal(err)
					}
				}
				b.ReportAllocs()
				began := processorTime()
				for b.Loop() {
					connect()
				}
				b.ReportMetric(float64(processorTime()-began)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// BenchmarkIdle measures the memory of a Conn between requests, without its socket.
func BenchmarkIdle(b *testing.B) {
	p := newPKI(b)
	config := NewConfig(p.serverConfig())
	var before, after runtime.MemStats
	stats := func(m *runtime.MemStats) {
		runtime.GC()
		runtime.GC() // what pools have goes with the second one
		runtime.ReadMemStats(m)
	}
	conns := make([]*Conn, 1000)
	for b.Loop() {
		clear(conns)
		stats(&before)
		for i := range conns {
			near, far := net.Pipe()
			done := make(chan error)
			go func() { done <- tls.Client(near, p.clientConfig()).Handshake() }()
			c, err := Server(&pipe{nc: far}, config)
			if err != nil {
				b.Fatal(err)
			}
			<-done
			c.inner = nil
			conns[i] = c
		}
		stats(&after)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(conns)), "B/conn")
}

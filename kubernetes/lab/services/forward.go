//go:build linux

package services

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

// forwarder accepts connections at one address, and forwards them.
type forwarder struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex // guards the following
	want  want
	next  int
	conns map[net.Conn]bool // nil once it has stopped
}

// forward begins to listen.
func forward(at netip.AddrPort) (*forwarder, error) {
	listener, err := net.Listen("tcp", at.String())
	if err != nil {
		return nil, err
	}
	f := &forwarder{listener: listener, conns: map[net.Conn]bool{}}
	f.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.serve(conn.(*net.TCPConn)) })
		}
	})
	return f, nil
}

// stop closes the listener and all connections.
func (f *forwarder) stop() {
	f.mu.Lock()
	conns := f.conns
	f.conns = nil
	f.mu.Unlock()
	_ = f.listener.Close()
	for conn := range conns {
		_ = conn.Close()
	}
	f.wg.Wait()
}

// set says where connections go from now on.
func (f *forwarder) set(w want) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.want = w
}

// keep remembers a connection, so that it is closed at the end. It reports false after
// the end.
func (f *forwarder) keep(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns != nil {
		f.conns[conn] = true
	}
	return f.conns != nil
}

// forget closes a connection.
func (f *forwarder) forget(conn net.Conn) {
	f.mu.Lock()
	delete(f.conns, conn)
	f.mu.Unlock()
	_ = conn.Close()
}

// serve forwards one connection. Without a backend it is reset, as a packet that nobody
// takes would be.
func (f *forwarder) serve(client *net.TCPConn) {
	defer f.forget(client)
	if !f.keep(client) {
		return
	}
	f.mu.Lock()
	w := f.want
	f.next++
	start := f.next
	f.mu.Unlock()
	for i := range w.backends {
		conn, err := net.DialTimeout("tcp", w.backends[(start+i)%len(w.backends)], 5*time.Second)
		if err != nil {
			continue
		}
		backend := conn.(*net.TCPConn)
		defer f.forget(backend)
		if !f.keep(backend) {
			return
		}
		f.copy(client, backend, w.proxy)
		return
	}
	_ = client.SetLinger(0)
}

// copy passes bytes in both directions until both ends, or one fails.
func (f *forwarder) copy(client, backend *net.TCPConn, proxy bool) {
	if proxy {
		header := proxyproto.Append(nil, proxyproto.V2, &proxyproto.Client{
			Source: client.RemoteAddr().(*net.TCPAddr).AddrPort(), Destination: client.LocalAddr().(*net.TCPAddr).AddrPort(),
		})
		if _, err := backend.Write(header); err != nil {
			return
		}
	}
	one := func(to, from *net.TCPConn) {
		if _, err := io.Copy(to, from); err != nil {
			// A reset of one side is passed on as a reset.
			_ = to.SetLinger(0)
			_ = from.SetLinger(0)
			_ = to.Close()
			_ = from.Close()
			return
		}
		_ = to.CloseWrite()
	}
	var wg sync.WaitGroup
	wg.Go(func() { one(backend, client) })
	one(client, backend)
	wg.Wait()
}

package netconn

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

type listener struct {
	net.Listener
	net  *Network
	spec atomic.Pointer[transport.ListenerSpec]
	done chan struct{} // closed when accepting has ended
}

// Listen implements transport.Network.
func (n *Network) Listen(spec transport.ListenerSpec, serve func(transport.Conn)) (transport.Listener, error) {
	inner, err := net.Listen("tcp", spec.Address)
	if err != nil {
		return nil, err
	}
	ln := &listener{Listener: inner, net: n, done: make(chan struct{})}
	ln.SetSpec(spec)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		inner.Close()
		return nil, net.ErrClosed
	}
	n.lns[ln] = struct{}{}
	go ln.accept(serve)
	return ln, nil
}

// Addr implements transport.Listener.
func (ln *listener) Addr() netip.AddrPort { return transport.AddrPort(ln.Listener.Addr()) }

// SetSpec implements transport.Listener.
func (ln *listener) SetSpec(spec transport.ListenerSpec) { ln.spec.Store(&spec) }

// Close implements transport.Listener.
func (ln *listener) Close() error {
	ln.net.mu.Lock()
	delete(ln.net.lns, ln)
	ln.net.mu.Unlock()
	err := ln.Listener.Close()
	<-ln.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (ln *listener) accept(serve func(transport.Conn)) {
	defer close(ln.done)
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			if !ln.net.start(nc, transport.Meta{Listener: ln.spec.Load()}, nil, serve) {
				nc.Close()
			}
		case errors.Is(err, net.ErrClosed):
			return
		default:
			// Most likely no descriptor is left.
			ln.net.log.Error("cannot accept connections; they wait in the kernel", "error", err)
			time.Sleep(100 * time.Millisecond)
		}
	}
}

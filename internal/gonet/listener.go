package gonet

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/holdfast-ws/holdfast/internal/transport"
)

type listener struct {
	net.Listener
	net  *Network
	done chan struct{} // closed when accepting has ended
}

// Listen implements transport.Network.
func (n *Network) Listen(address string, serve func(transport.Conn)) (transport.Listener, error) {
	inner, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	ln := &listener{inner, n, make(chan struct{})}
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
func (ln *listener) Addr() netip.AddrPort { return addrPort(ln.Listener.Addr()) }

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
			if !ln.net.start(nc, nil, serve) {
				nc.Close()
			}
		case errors.Is(err, net.ErrClosed):
			return
		default:
			// No descriptor left, most likely: connections wait in the
			// kernel meanwhile.
			ln.net.log.Error("cannot accept connections; they wait in the kernel", "error", err)
			time.Sleep(100 * time.Millisecond)
		}
	}
}

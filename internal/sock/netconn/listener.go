package netconn

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/sock/unixsock"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

type listener struct {
	net.Listener
	net  *Network
	spec atomic.Pointer[transport.ListenerSpec]
	done chan struct{} // closed when accepting has ended
	// remove removes the file of a unix socket; nil for TCP.
	remove func()
}

// Listen implements transport.Network.
func (n *Network) Listen(spec transport.ListenerSpec, serve func(transport.Conn)) (transport.Listener, error) {
	ln := &listener{net: n, done: make(chan struct{})}
	if err := ln.bind(&spec); err != nil {
		return nil, err
	}
	ln.SetSpec(spec)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		ln.unbind()
		return nil, net.ErrClosed
	}
	n.lns[ln] = struct{}{}
	go ln.accept(serve)
	return ln, nil
}

func (ln *listener) bind(spec *transport.ListenerSpec) (err error) {
	if spec.Given != nil {
		ln.Listener, err = net.FileListener(spec.Given.File)
		return err
	}
	if a, err := hostport.ParseListen(spec.Address, ""); err == nil && a.Path != "" {
		inner, remove, err := unixsock.Listen(a.Path, spec.SocketMode)
		if err != nil {
			return err
		}
		ln.Listener, ln.remove = inner, remove
		return nil
	}
	ln.Listener, err = net.Listen("tcp", spec.Address)
	return err
}

func (ln *listener) unbind() error {
	if ln.remove != nil {
		ln.remove()
	}
	return ln.Listener.Close()
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
	err := ln.unbind()
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

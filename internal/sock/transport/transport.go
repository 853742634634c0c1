// Package transport is the contract between the stages of a handshake and the
// code that moves the bytes: an event loop (package eventloop) or Go's net
// package (package netconn).
//
// Code written against it is straight-line. A Read that has nothing to read may
// park a goroutine, or a coroutine of an event loop; the caller can't tell.
package transport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

// Conn is one connection, by TCP or a unix socket, during its handshake. It is used by one task at a
// time; its methods must not be called concurrently.
//
// The task that holds a Conn owns it. It must Close it, or hand it to something
// that is documented to take it over (relay.Engine.Start, the plain HTTP server).
type Conn interface {
	// Read blocks until there is at least one byte, EOF, an error, or the
	// deadline has passed (os.ErrDeadlineExceeded). It doesn't retain p.
	Read(p []byte) (int, error)
	// Write blocks until all of p is written, or fails as Read does. It
	// doesn't retain p.
	Write(p []byte) (int, error)
	// SetDeadline applies to all later Reads and Writes. The zero time means no
	// deadline.
	SetDeadline(t time.Time) error
	// HungUp reports whether the peer is known to have closed or reset its end.
	// It makes no system call, so false means "not known".
	HungUp() bool
	// CloseWrite sends EOF after what was written. Reading remains possible.
	CloseWrite() error
	// Close closes the connection at once. Further calls do nothing.
	Close() error
	// Detach ends this Conn and returns its connection as a net.Conn. Nothing
	// has been read from it that Read has not returned. The caller owns the
	// result, and needs Meta to have the connection adopted later.
	Detach() (net.Conn, error)
	// Park ends this Conn without closing its connection. While parked, a
	// connection needs no task and no buffer; it waits for something other than
	// its socket. The task must return. Parked.Resume starts another task, which
	// reads first, and then what was left unread; first is retained. What the
	// peer sends meanwhile stays in the socket.
	//
	// If the peer closes or resets the connection meanwhile, or the network is
	// closed, the connection is closed and gone is called instead of resume:
	// once, on a goroutine of the network, and it must not block. A network may
	// notice the peer's end only by reading, and then not after the peer has
	// sent more than 64 KiB.
	//
	// After an error the caller still owns the Conn. The error is ErrHungUp if
	// the peer has gone already.
	Park(first []byte, resume func(Conn), gone func()) (Parked, error)

	// Meta returns the facts about the connection, see Meta.
	Meta() Meta
	// LocalAddr and RemoteAddr are the socket's addresses, or what Introduce has set.
	LocalAddr() netip.AddrPort
	RemoteAddr() netip.AddrPort
}

// Meta is what is known about a client's connection before its first byte of
// HTTP: routing, logging and forwarding headers go by it. A layer below HTTP
// that learns more wraps the Conn and overrides Meta.
type Meta struct {
	// Listener accepted the connection. It is nil for a connection that was
	// dialled.
	Listener *ListenerSpec
	// Peer is the client, or the proxy in front of the balancer; Local is the
	// address it connected to. Front may have set both. One without an IP address, which
	// comes by a unix socket, is hostport.UnixPeer.
	Peer, Local netip.AddrPort
	// Front is what a proxy in front has said by the PROXY protocol. It is nil if there
	// was no header. It must not be changed.
	Front *Front
	// TLS is what a TLS handshake has agreed on: https and wss instead of http and
	// ws. It is nil without one. It must not be changed.
	TLS *TLS
}

// Secure reports whether the client speaks TLS.
func (m *Meta) Secure() bool { return m.TLS != nil }

// Scheme is "https" if the client speaks TLS, to the balancer or to the proxy in front,
// otherwise "http". It stands for wss and ws as well.
func (m *Meta) Scheme() string {
	if m.Secure() || m.Front != nil && m.Front.TLS != nil {
		return "https"
	}
	return "http"
}

// ListenerName is the name of the listener; "" without one.
func (m *Meta) ListenerName() string {
	if m.Listener == nil {
		return ""
	}
	return m.Listener.Name
}

// ClientCertificate is the client's, verified; nil if it has shown none.
func (m *Meta) ClientCertificate() *x509.Certificate {
	if m.TLS == nil {
		return nil
	}
	return m.TLS.Certificate
}

// Front is what a header of the PROXY protocol has said, apart from the addresses.
type Front struct {
	// Proxy is the other end of the connection.
	Proxy netip.AddrPort
	// TLS is what the client has agreed on with that proxy; nil if it spoke no TLS to it.
	TLS *proxyproto.TLS
}

// TLS is what a TLS handshake has agreed on.
type TLS struct {
	Version, Suite uint16 // of crypto/tls
	Resumed        bool
	// ServerName is the name that the client asked for (SNI), and Protocol what was
	// chosen by ALPN; "" without one.
	ServerName, Protocol string
	// Certificate is the peer's, nil if it has shown none. A client's is verified, a
	// server's as far as the configuration of the handshake says.
	Certificate *x509.Certificate
}

// VersionWord is the version in the words of the configuration, such as "1.3".
func (t *TLS) VersionWord() string { return strings.TrimPrefix(tls.VersionName(t.Version), "TLS ") }

// Layer is a Conn on another one, which it owns.
type Layer interface {
	Conn
	Inner() Conn
}

// Socket returns the Conn below all layers of c.
func Socket(c Conn) Conn {
	for {
		l, ok := c.(Layer)
		if !ok {
			return c
		}
		c = l.Inner()
	}
}

// AwaitTurn waits until it is the turn of c's task for work that takes long, such as
// the signature of a TLS handshake, so that many tasks on one event loop don't keep
// it from its sessions. It fails as Read does.
func AwaitTurn(c Conn) error {
	if t, ok := Socket(c).(interface{ AwaitTurn() error }); ok {
		return t.AwaitTurn()
	}
	return nil
}

// Introduce sets the addresses and the Front of c's Meta to those of m. c, which has no
// layers yet, first reads unread, which is retained. It fails if c isn't of a network of
// ours.
func Introduce(c Conn, m Meta, unread []byte) error {
	i, ok := c.(interface {
		Introduce(m Meta, unread []byte)
	})
	if !ok {
		return fmt.Errorf("transport: %T can't be told who its client is", c)
	}
	i.Introduce(m, unread)
	return nil
}

// Await calls start, and waits until that has called done, which it does once, from any
// goroutine. Neither may block. Await fails as Read does, at the deadline of c, and also
// if the peer of c goes away meanwhile; then done does nothing.
func Await(c Conn, start func(done func())) error {
	if w, ok := Socket(c).(interface {
		Await(start func(done func())) error
	}); ok {
		return w.Await(start)
	}
	done := make(chan struct{})
	start(func() { close(done) })
	<-done
	return nil
}

// KeepHalfClosed makes c stay when its peer ends its stream, since the peer may still
// wait for an answer: c then counts as hung up only when it is reset, and a parked one
// isn't closed. It is for protocols whose clients may do that before they are served.
func KeepHalfClosed(c Conn) {
	if k, ok := Socket(c).(interface{ KeepHalfClosed() }); ok {
		k.KeepHalfClosed()
	}
}

// Parked is a connection that was parked. Its methods may be called from any
// goroutine and don't block. The first call decides; after it, and after gone,
// further calls do nothing.
type Parked interface {
	// Resume starts a task that owns the connection.
	Resume()
	// Close closes the connection. Neither resume nor gone is called.
	Close()
}

// ListenerSpec says how to listen. Options of a listener that apply to each of
// its connections belong here; Meta.Listener leads to them.
type ListenerSpec struct {
	Name string // from the configuration, for logs and routes
	// Address is "host:port", where an empty host means every address, or "unix:/path".
	Address string
	// SocketMode has the permissions of a unix socket.
	SocketMode fs.FileMode
	// Given is an open socket that is used instead of one at Address; nil if there is none.
	Given *Given

	// Proxies reads who the client is from the proxies in front, which must say so; nil
	// if there are none.
	Proxies ProxyServer
	// Mode says what clients speak on it, as far as the balancer is concerned.
	Mode Mode
	// TLS makes the TLS handshakes of connections; nil if they are not encrypted.
	TLS TLSServer
	// RedirectHTTPS means that requests are redirected to https, at HTTPSPort; 0
	// means 443.
	RedirectHTTPS bool
	HTTPSPort     uint16
	// MaxSessions bounds the connections of the listener that are handshakes or
	// sessions, or serve plain HTTP; 0 is no bound.
	MaxSessions int
	// Policy is what the listener asks of clients. It is the spine's.
	Policy any
}

// Given is a listening socket that another process has opened, and keeps open. Listen uses
// a duplicate.
type Given struct {
	File    *os.File
	Address string // as ListenerSpec.Address, but as the kernel tells it
}

// Mode is what the balancer takes the bytes of a listener's connections for.
type Mode uint8

const (
	HTTP Mode = iota
	// TCP: opaque bytes.
	TCP
	// TLSPassthrough: TLS with a backend, of which only the client's first message is
	// looked at.
	TLSPassthrough
)

// Opaque reports whether the connection has no requests for the balancer.
func (m *Meta) Opaque() bool { return m.Listener != nil && m.Listener.Mode != HTTP }

// TLSServer makes TLS handshakes as the server.
type TLSServer interface {
	// Secure makes the handshake on c, within the deadline of c. The result owns c.
	// After an error, c is still the caller's.
	Secure(c Conn) (Conn, error)
}

// ProxyServer reads the headers of the PROXY protocol, which come before anything else.
type ProxyServer interface {
	// Trusts reports whether peer, the other end of a connection, must send a header.
	// All others are refused.
	Trusts(peer netip.AddrPort) bool
	// Introduce reads the header on c, within its deadline, and gives c the Meta that
	// follows from it. buf is scratch space. After an error, c is still the caller's.
	Introduce(c Conn, buf []byte) error
}

// Listener is an address that is being listened on.
type Listener interface {
	// Addr is the bound address, with the port that the kernel chose for port 0. It is
	// hostport.UnixPeer for a unix socket.
	Addr() netip.AddrPort
	// SetSpec replaces the ListenerSpec for connections accepted from now on. Its
	// address is ignored.
	SetSpec(ListenerSpec)
	// Close stops accepting and frees the address before it returns.
	// Connections that were accepted go on.
	Close() error
}

// Network opens connections and runs the tasks that serve them.
type Network interface {
	// Listen binds spec.Address and calls serve in a new task for each accepted
	// connection, until the listener is closed. serve owns the Conn.
	Listen(spec ListenerSpec, serve func(Conn)) (Listener, error)

	// Adopt takes over c, which Detach or Go's net package returned, and calls
	// serve as Listen does. Its Conn has the given Meta; addresses that are not
	// set are those of the socket. Its first Reads return first, which is
	// retained. After an error the caller still owns c.
	Adopt(c net.Conn, meta Meta, first []byte, serve func(Conn)) error

	// Dial connects to addr within the task that holds parent. It fails with
	// os.ErrDeadlineExceeded at deadline, and with ErrHungUp if parent's peer
	// goes away meanwhile. The new Conn belongs to the same loop as parent, so
	// that both can become one session. Each parent may have one open dialled
	// Conn at a time.
	Dial(parent Conn, addr hostport.Endpoint, deadline time.Time) (Conn, error)
}

// ErrHungUp is returned by calls that wait for a backend after the client has
// gone, so that waiting is pointless.
const ErrHungUp = transportError("the client hung up")

type transportError string

func (e transportError) Error() string { return string(e) }

// AddrPort returns the address of a TCP connection or listener, an IPv4 one without
// its IPv6 mapping; hostport.UnixPeer if a is of a unix socket, and the zero AddrPort if
// it is of anything else.
func AddrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	case *net.UnixAddr:
		return hostport.UnixPeer
	}
	return netip.AddrPort{}
}

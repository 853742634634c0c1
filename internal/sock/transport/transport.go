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
	"net"
	"net/netip"
	"strings"
	"time"
)

// Conn is one TCP connection during its handshake. It is used by one task at a
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
	// LocalAddr and RemoteAddr are the socket's addresses.
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
	// address it connected to.
	Peer, Local netip.AddrPort
	// TLS is what a TLS handshake has agreed on: https and wss instead of http and
	// ws. It is nil without one. It must not be changed.
	TLS *TLS
}

// Secure reports whether the client speaks TLS.
func (m *Meta) Secure() bool { return m.TLS != nil }

// Scheme is "https" for a secure connection, otherwise "http". It stands for
// wss and ws as well.
func (m *Meta) Scheme() string {
	if m.Secure() {
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

// TLS is what a TLS handshake has agreed on.
type TLS struct {
	Version, Suite uint16 // of crypto/tls
	Resumed        bool
	// ServerName is the name that the client asked for (SNI), and Protocol what was
	// chosen by ALPN; "" without one.
	ServerName, Protocol string
	// Certificate is the peer's, verified; nil if it has shown none.
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
	Name    string // from the configuration, for logs and routes
	Address string // "host:port"; an empty host means every address

	// TLS makes the TLS handshakes of connections; nil if they are not encrypted.
	TLS TLSServer
	// RedirectHTTPS means that requests are redirected to https, at HTTPSPort; 0
	// means 443.
	RedirectHTTPS bool
	HTTPSPort     uint16
}

// TLSServer makes TLS handshakes as the server.
type TLSServer interface {
	// Secure makes the handshake on c, within the deadline of c. The result owns c.
	// After an error, c is still the caller's.
	Secure(c Conn) (Conn, error)
}

// Listener is an address that is being listened on.
type Listener interface {
	// Addr is the bound address, with the port that the kernel chose for port 0.
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
	Dial(parent Conn, addr netip.AddrPort, deadline time.Time) (Conn, error)
}

// ErrHungUp is returned by calls that wait for a backend after the client has
// gone, so that waiting is pointless.
const ErrHungUp = transportError("the client hung up")

type transportError string

func (e transportError) Error() string { return string(e) }

// AddrPort returns the address of a TCP connection or listener, an IPv4 one without
// its IPv6 mapping; the zero AddrPort if a isn't one of TCP.
func AddrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Package transport is the contract between the stages of a handshake and
// whatever moves the bytes: an event loop of our own, or Go's net package.
//
// Code written against it reads in straight lines. Whether a Read that has
// nothing to read parks a goroutine or a coroutine of an event loop is the
// implementation's business.
package transport

import (
	"net"
	"net/netip"
	"time"
)

// Conn is one TCP connection during its handshake. It is used by one task at a
// time; no method may be called concurrently with another.
//
// The task that holds a Conn owns it: it ends with Close, or by handing the
// Conn to something documented to take it over (relay.Engine.Start, the plain
// HTTP server).
type Conn interface {
	// Read blocks until at least one byte, EOF, an error or the deadline
	// (os.ErrDeadlineExceeded). It never retains p.
	Read(p []byte) (int, error)
	// Write blocks until all of p is written, or fails as Read does. It
	// never retains p.
	Write(p []byte) (int, error)
	// SetDeadline bounds all later Reads and Writes. The zero time means none.
	SetDeadline(t time.Time) error
	// HungUp tells, as far as known without a system call, that the peer has
	// closed or reset its end. False means "not known to".
	HungUp() bool
	// CloseWrite sends EOF after what was written; Read goes on.
	CloseWrite() error
	// Close closes the connection at once. Further calls do nothing.
	Close() error
	// Detach ends this Conn and gives its connection, with nothing read that
	// Read has not returned, as one of Go's own. The caller owns the result.
	Detach() (net.Conn, error)
	// Park ends this Conn without closing its connection, which then costs
	// no task and no buffer while it waits for something that is not its
	// socket's. The task must return. Parked.Resume starts another, which
	// gets the connection with first before what was left unread; first is
	// kept. What the peer sends meanwhile stays in the socket.
	//
	// Where the peer closes or resets the connection meanwhile, or the
	// network is closed, the connection is closed and gone is called, once
	// and instead of resume, on a goroutine of the network: it must not
	// block. A network may learn of the peer's end only from reading, and
	// then not once the peer has sent something.
	//
	// On an error, ErrHungUp if the peer has gone already, the Conn is still
	// the caller's.
	Park(first []byte, resume func(Conn), gone func()) (Parked, error)

	LocalAddr() netip.AddrPort
	RemoteAddr() netip.AddrPort
}

// Parked is a connection that was parked. Its methods may be called from
// anywhere and don't block. After the first of them that comes, and after gone,
// they do nothing.
type Parked interface {
	// Resume starts a task that owns the connection.
	Resume()
	// Close closes the connection; neither resume nor gone is called.
	Close()
}

// Listener is a listening address, served since Listen returned.
type Listener interface {
	// Addr is the bound address, with the port the kernel chose for port 0.
	Addr() netip.AddrPort
	// Close stops accepting and frees the address before it returns.
	// Connections that were accepted go on.
	Close() error
}

// Network opens connections and runs the tasks that serve them.
type Network interface {
	// Listen binds address ("host:port", the host may be empty) and calls
	// serve in a task of its own for every connection accepted, until the
	// listener is closed. serve owns the Conn.
	Listen(address string, serve func(Conn)) (Listener, error)

	// Adopt takes over c, a connection that Detach or Go's net package gave,
	// and calls serve as Listen does. Its first Reads return first, which is
	// kept. On an error c is still the caller's.
	Adopt(c net.Conn, first []byte, serve func(Conn)) error

	// Dial connects to addr from within the task that holds near, and fails
	// with os.ErrDeadlineExceeded when that takes until deadline. The new
	// Conn lives where near lives, so that both can become one session.
	// At most one dialled Conn may be open beside near at a time. Dial
	// returns ErrHungUp when near's peer goes away meanwhile.
	Dial(near Conn, addr netip.AddrPort, deadline time.Time) (Conn, error)
}

// ErrHungUp is returned where waiting became pointless because the client that
// is waited for has gone.
const ErrHungUp = transportError("the client hung up")

type transportError string

func (e transportError) Error() string { return string(e) }

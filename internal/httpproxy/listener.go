package httpproxy

import (
	"net"
	"sync"
)

// queueLength bounds the connections that wait for Accept. A server takes
// them at once, so these are many.
const queueLength = 256

// Listener is a net.Listener for connections that something else accepted.
type Listener struct {
	addr  net.Addr
	conns chan net.Conn

	mu     sync.RWMutex // guards closed, and conns against Hand after its end
	closed bool
}

// NewListener makes a Listener that says it listens at addr.
func NewListener(addr net.Addr) *Listener {
	return &Listener{addr: addr, conns: make(chan net.Conn, queueLength)}
}

// Hand takes conn over and never waits. A connection that can't be taken, as
// the Listener is closed or too many wait, is closed; false tells so.
func (l *Listener) Hand(conn net.Conn) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.closed {
		select {
		case l.conns <- conn:
			return true
		default:
		}
	}
	conn.Close()
	return false
}

// Accept returns the next connection handed over, or net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	conn, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

// Close ends Accept and closes the connections that wait for it.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.conns)
	for conn := range l.conns {
		conn.Close()
	}
	return nil
}

// Addr is the address given to NewListener.
func (l *Listener) Addr() net.Addr { return l.addr }

// PrefixConn is conn whose Reads return already first: bytes that were read
// from it before. already is kept until then.
func PrefixConn(conn net.Conn, already []byte) net.Conn {
	if len(already) == 0 {
		return conn
	}
	return &prefixConn{Conn: conn, already: already}
}

type prefixConn struct {
	net.Conn
	already []byte
}

func (c *prefixConn) Read(p []byte) (int, error) {
	if len(c.already) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.already)
	if c.already = c.already[n:]; len(c.already) == 0 {
		c.already = nil // the array may be big
	}
	return n, nil
}

// CloseWrite is what http.Server closes with when it has answered a request
// that it didn't read to the end, lest a reset destroys the answer.
func (c *prefixConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn is the connection inside, as of crypto/tls.Conn.
func (c *prefixConn) NetConn() net.Conn { return c.Conn }

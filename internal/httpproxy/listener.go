package httpproxy

import (
	"net"
	"sync"
)

// queueLength bounds the connections that wait for Accept. A server accepts them
// at once, so this is more than enough.
const queueLength = 256

// Listener is a net.Listener for connections that something else accepted.
type Listener struct {
	addr  net.Addr
	conns chan net.Conn

	mu     sync.RWMutex // guards closed, and conns against Hand after its end
	closed bool
}

// NewListener makes a Listener with the given Addr.
func NewListener(addr net.Addr) *Listener {
	return &Listener{addr: addr, conns: make(chan net.Conn, queueLength)}
}

// Hand takes over conn. It never blocks. If the Listener is closed or too many
// connections wait, it closes conn and reports false.
func (l *Listener) Hand(conn net.Conn) bool {
	if l.offer(conn) {
		return true
	}
	conn.Close()
	return false
}

// offer is Hand, but leaves a connection that it can't take open.
func (l *Listener) offer(conn net.Conn) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.closed {
		select {
		case l.conns <- conn:
			return true
		default:
		}
	}
	return false
}

// Accept returns the next connection that was handed over, or net.ErrClosed.
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

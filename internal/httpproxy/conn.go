package httpproxy

import (
	"errors"
	"io"
	"net"
	"slices"
	"time"
)

const (
	// A connection that is closed before its client's request was read
	// completely is still read for a while: otherwise it would be reset, and the
	// client would never see the answer (RFC 9112 §9.6). These are nginx's
	// lingering_timeout and lingering_time.
	lingerQuiet = 5 * time.Second
	lingerMost  = 30 * time.Second
	defaultSend = time.Minute
)

// clientConn is a client's connection with HTTP/1 within net/http. It adds what
// net/http doesn't have: half-closed connections, and a timeout between two bytes.
type clientConn struct {
	served
	heads *heads

	// Guarded by served.mu.
	ending    bool // nothing more is read; Close lingers
	half      bool // the client has closed its half
	whenHalf  func()
	dedicated []*backendConn // idle; to backends, for this client alone
}

func (c *clientConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	ending := c.ending
	c.mu.Unlock()
	if ending {
		return 0, io.EOF
	}
	n, err := c.heads.read(p)
	if n > 0 && !c.wake() {
		return 0, net.ErrClosed
	}
	// Only while a handler runs, net/http reads a single byte, to learn that the
	// client has gone. The end of the stream doesn't mean that: the client has
	// sent everything, and may wait for its answer.
	if n == 0 && err == io.EOF && len(p) == 1 {
		c.halfClosed()
		err = waitForReset(c.Conn)
	}
	return n, err
}

// SetReadDeadline is part of net.Conn.
func (c *clientConn) SetReadDeadline(t time.Time) error { return c.heads.setReadDeadline(t) }

// SetDeadline is part of net.Conn.
func (c *clientConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// halfClosed records that the client will send nothing more.
func (c *clientConn) halfClosed() {
	c.mu.Lock()
	c.half = true
	tell := c.whenHalf
	c.mu.Unlock()
	if tcp, ok := socketOf(c.Conn).(*net.TCPConn); ok {
		// A client that has gone completely soon answers these with a reset.
		tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 4})
	}
	if tell != nil {
		tell()
	}
}

// refused implements client, as onHalfClosed does.
func (c *clientConn) refused() error { return nil }

func (c *clientConn) onHalfClosed(tell func()) (forget func()) {
	c.mu.Lock()
	c.whenHalf = tell
	already := c.half
	c.mu.Unlock()
	if already {
		tell()
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.whenHalf = nil
	}
}

// endWithAnswer makes the connection close after the current answer: the client's
// request was not read completely, and the rest isn't needed.
func (c *clientConn) endWithAnswer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
}

func (c *clientConn) endsWithAnswer() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// Close closes the connection; after a while if its client is still sending.
func (c *clientConn) Close() error {
	c.mu.Lock()
	first := !c.closed
	linger := first && c.ending && !c.stopped
	c.closed = true
	if c.idle != nil {
		c.server.idle.remove(&c.served)
	}
	c.closeDedicated()
	c.mu.Unlock()
	if linger && c.server.linger(c) {
		return nil
	}
	err := c.Conn.Close()
	c.end()
	return err
}

// lingers reads what still comes, and then closes the connection.
func (c *clientConn) lingers() {
	defer c.end()
	defer c.Conn.Close()
	if c.CloseWrite() != nil {
		return
	}
	buf := make([]byte, 4<<10)
	for last := time.Now().Add(lingerMost); ; {
		next := time.Now().Add(lingerQuiet)
		if next.After(last) {
			next = last
		}
		c.Conn.SetReadDeadline(next)
		if _, err := c.Conn.Read(buf); err != nil {
			return
		}
	}
}

// hijacked is called when the connection has left the server.
func (c *clientConn) hijacked() {
	c.mu.Lock()
	c.closeDedicated()
	c.mu.Unlock()
	c.end()
}

// CloseWrite closes our half.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// NetConn is the connection inside, as of crypto/tls.Conn.
func (c *clientConn) NetConn() net.Conn { return c.Conn }

// socketOf is the connection below TLS.
func socketOf(conn net.Conn) net.Conn {
	for {
		layer, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = layer.NetConn()
	}
}

// backends are the IDs of those with dedicated connections.
func (c *clientConn) backends() (ids []uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.dedicated {
		if conn.dedicated {
			ids = append(ids, conn.backend)
		}
	}
	return ids
}

// takeDedicated returns the dedicated connection to target, or nil.
func (c *clientConn) takeDedicated(target *Target) *backendConn {
	c.mu.Lock()
	var found *backendConn
	for i, conn := range c.dedicated {
		if conn.backend == target.Backend && conn.to.tls == target.TLS && conn.to.header == target.Header && (conn.backend != 0 || conn.to.addr == target.Addr) {
			found = conn
			c.removeDedicated(i)
			break
		}
	}
	c.mu.Unlock()
	if found == nil || !found.awake() {
		return nil
	}
	return found
}

// maxDedicated bounds the dedicated connections of one client's connection: one
// for each backend that asks for such a login, of which there are few.
const maxDedicated = 8

// putDedicated keeps conn for this client alone.
func (c *clientConn) putDedicated(conn *backendConn, timeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.server == nil || timeout <= 0 {
		conn.Close()
		return
	}
	if i := c.superfluous(conn); i >= 0 {
		c.dedicated[i].Close()
		c.removeDedicated(i)
	}
	c.dedicated = append(c.dedicated, conn)
	c.server.watches.Add(1)
	conn.watch(timeout, func() bool {
		defer c.server.watches.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		for i := range c.dedicated {
			if c.dedicated[i] == conn {
				c.removeDedicated(i)
				return true
			}
		}
		return false
	})
}

// superfluous returns the dedicated connection that conn replaces, or -1. Of those without
// a login, which are only dedicated for their header, one is enough. It is called with mu
// held.
func (c *clientConn) superfluous(conn *backendConn) int {
	if !conn.dedicated {
		return slices.IndexFunc(c.dedicated, func(other *backendConn) bool { return !other.dedicated })
	}
	if len(c.dedicated) < maxDedicated {
		return -1
	}
	return 0
}

// removeDedicated and closeDedicated are called with mu held.
func (c *clientConn) removeDedicated(i int) {
	c.dedicated = append(c.dedicated[:i:i], c.dedicated[i+1:]...)
}

func (c *clientConn) closeDedicated() {
	for _, conn := range c.dedicated {
		conn.Close()
	}
	c.dedicated = nil
}

package httpproxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// maxIdlePerBackend bounds the idle connections to one backend.
const maxIdlePerBackend = 128

// maxAnswerHead bounds the head of an answer, in bytes, interim ones included.
const maxAnswerHead = 256 << 10

// longAgo, as a deadline, ends a call that waits.
var longAgo = time.Unix(1, 0)

// backendConn is a connection to a backend. One request at a time uses it.
type backendConn struct {
	net.Conn
	r       *bufio.Reader
	backend uint32 // the Target's
	to      endpoint
	reused  bool
	// dedicated means that it has seen a login that belongs to the connection, so
	// that only one client's connection may use it, until it closes.
	dedicated bool

	headLeft int // bytes that may still be read for a head; -1 means no limit
	got      bool
	watched  chan error // while idle; how the watch ended
}

func newBackendConn(conn net.Conn, to endpoint) *backendConn {
	c := &backendConn{Conn: conn, to: to, headLeft: -1}
	c.r = bufio.NewReader(c)
	return c
}

var errAnswerHead = errors.New("the head of the answer is too large")

// Read is what r reads from.
func (c *backendConn) Read(p []byte) (int, error) {
	if c.headLeft == 0 {
		return 0, errAnswerHead
	}
	if c.headLeft > 0 {
		p = p[:min(len(p), c.headLeft)]
	}
	n, err := c.Conn.Read(p)
	if c.headLeft > 0 {
		c.headLeft -= n
	}
	c.got = c.got || n > 0
	return n, err
}

// hangUp closes the connection while a request is under way. It doesn't wait for the
// peer, as Close may do to send the end of a TLS connection.
func (c *backendConn) hangUp() {
	if conn, ok := c.Conn.(interface{ HangUp() error }); ok {
		conn.HangUp()
		return
	}
	c.Close()
}

// rejected returns why a backend rejects the connection, if err says that, otherwise
// nil. The backend has not read a request then.
func (c *backendConn) rejected(err error) error {
	if c.to.tls == nil || c.reused || c.got {
		return nil
	}
	return c.to.tls.Rejection(err)
}

// connectError is a failed connect, after which nothing was sent.
type connectError struct{ error }

func (e *connectError) Unwrap() error { return e.error }

// dialBackend connects to a backend. timeout is for the connect and the TLS handshake
// together.
func dialBackend(ctx context.Context, to endpoint, timeout time.Duration) (*backendConn, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	network, address := to.addr.DialArgs()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, &connectError{err}
	}
	if err := introduce(ctx, conn, to.header); err != nil {
		conn.Close()
		return nil, &connectError{err}
	}
	if to.tls != nil {
		secured, err := to.tls.Client(ctx, conn, to.host)
		if err != nil {
			conn.Close()
			return nil, &connectError{fmt.Errorf("TLS with %s: %w", to.addr, err)}
		}
		conn = secured
	}
	return newBackendConn(conn, to), nil
}

// introduce sends header on conn.
func introduce(ctx context.Context, conn net.Conn, header string) error {
	if header == "" {
		return nil
	}
	until, _ := ctx.Deadline()
	conn.SetWriteDeadline(until)
	defer conn.SetWriteDeadline(time.Time{})
	_, err := io.WriteString(conn, header)
	return err
}

// backendConns are the idle connections to backends, for requests of any client.
type backendConns struct {
	most    int
	watches sync.WaitGroup

	mu   sync.Mutex                  // guards the following
	idle map[endpoint][]*backendConn // the most recently used last
	n    int
}

// take returns a connection that is alive as far as is known, or nil.
func (p *backendConns) take(to endpoint) *backendConn {
	for {
		p.mu.Lock()
		list := p.idle[to]
		if len(list) == 0 {
			p.mu.Unlock()
			return nil
		}
		c := list[len(list)-1]
		p.remove(c)
		p.mu.Unlock()
		if c.awake() {
			return c
		}
	}
}

// put keeps c for later requests, for at most timeout.
func (p *backendConns) put(c *backendConn, timeout time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if timeout <= 0 || p.n >= p.most || len(p.idle[c.to]) >= maxIdlePerBackend {
		c.Close()
		return
	}
	if p.idle == nil {
		p.idle = map[endpoint][]*backendConn{}
	}
	p.idle[c.to] = append(p.idle[c.to], c)
	p.n++
	p.watches.Add(1)
	c.watch(timeout, func() (expired bool) {
		defer p.watches.Done()
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.remove(c)
	})
}

// remove removes c and reports whether it was there. It is called with mu held.
func (p *backendConns) remove(c *backendConn) bool {
	list := p.idle[c.to]
	i := slices.Index(list, c)
	if i < 0 {
		return false
	}
	p.n--
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(p.idle, c.to)
	} else {
		p.idle[c.to] = list
	}
	return true
}

// close closes all idle connections and waits for their watches to end.
func (p *backendConns) close() {
	p.mu.Lock()
	for _, list := range p.idle {
		for _, c := range list {
			c.Close()
		}
	}
	p.mu.Unlock()
	p.watches.Wait()
}

// watch waits for the end of an idle connection, so that one that its backend has
// closed is neither used nor kept. It calls ended when the watch is over, which
// reports whether to close the connection.
func (c *backendConn) watch(timeout time.Duration, ended func() (expired bool)) {
	c.reused, c.got = true, false
	c.SetReadDeadline(time.Now().Add(timeout))
	watched := make(chan error, 1)
	c.watched = watched
	go func() {
		_, err := c.r.Peek(1)
		if ended() {
			c.Close()
		}
		watched <- err
	}()
}

// awake ends the watch and reports whether the connection can be used. If not, it
// closes it.
func (c *backendConn) awake() bool {
	c.SetReadDeadline(longAgo)
	err := <-c.watched
	// It also can't be used if there are unexpected bytes: they would be taken for
	// the next answer.
	if !isTimeout(err) || c.r.Buffered() > 0 || c.SetReadDeadline(time.Time{}) != nil {
		c.Close()
		return false
	}
	return true
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

package wsconn

import (
	"net"
	"sync"
	"syscall"
)

// asyncConn is a TCP connection whose Write never blocks: what the socket does
// not take at once is kept, and written by a goroutine that lives until all of
// it is gone. So one goroutine can send on thousands of connections by the
// clock, whatever the peers do, and a connection at rest has no writer.
type asyncConn struct {
	net.Conn
	raw syscall.RawConn // nil where Conn has none; then every write goes to the goroutine

	mu       sync.Mutex
	waiting  []byte
	flushing bool
	err      error
	room     *sync.Cond // less waits than before, or err is set

	// Of the attempt to write at once, made under mu. attempt is made once,
	// lest each write allocates.
	attempt func(fd uintptr) bool
	p       []byte
	n       int
	failed  error
}

func newAsyncConn(c net.Conn) *asyncConn {
	a := &asyncConn{Conn: c}
	a.room = sync.NewCond(&a.mu)
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			a.raw = raw
		}
	}
	a.attempt = a.writeOnce
	return a
}

// Write takes all of p, or fails as an earlier write did.
func (a *asyncConn) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return 0, a.err
	}
	if a.flushing {
		a.waiting = append(a.waiting, p...)
		return len(p), nil
	}
	n := 0
	if a.raw != nil {
		a.p, a.n, a.failed = p, 0, nil
		if err := a.raw.Write(a.attempt); err != nil {
			a.failed = err
		}
		n, a.p = a.n, nil
		if a.failed != nil {
			a.err = a.failed
			return n, a.err
		}
	}
	if n < len(p) {
		a.waiting = append(a.waiting[:0], p[n:]...)
		a.flushing = true
		go a.flush()
	}
	return len(p), nil
}

// backlog is how many bytes wait for the socket.
func (a *asyncConn) backlog() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.waiting)
}

// waitBelow waits until at most limit bytes wait for the socket, or a write
// failed.
func (a *asyncConn) waitBelow(limit int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.waiting) > limit && a.err == nil {
		a.room.Wait()
	}
}

func (a *asyncConn) flush() {
	var out []byte
	for {
		a.mu.Lock()
		if len(a.waiting) == 0 || a.err != nil {
			a.flushing, a.waiting = false, nil
			a.room.Broadcast()
			a.mu.Unlock()
			return
		}
		out, a.waiting = a.waiting, out[:0]
		a.room.Broadcast()
		a.mu.Unlock()
		if _, err := a.Conn.Write(out); err != nil {
			a.mu.Lock()
			a.err = err
			a.mu.Unlock()
		}
	}
}

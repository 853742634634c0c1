package wsconn

import (
	"net"
	"sync"
	"syscall"
)

// asyncConn is a TCP connection whose Write never blocks. What the socket doesn't
// accept at once is buffered and written by a goroutine, which exists only until the
// buffer is empty. So one goroutine can send on thousands of connections at precise
// times, regardless of slow peers, and an idle connection has no goroutine for
// writing.
type asyncConn struct {
	net.Conn
	raw syscall.RawConn // nil if Conn has none; then the goroutine does all writes

	mu       sync.Mutex
	pending  []byte
	flushing bool
	err      error
	drained  *sync.Cond // signaled when pending has shrunk or err is set

	// For the attempt to write at once, which requires mu. tryWrite is a field
	// so that not every write allocates a closure.
	tryWrite func(fd uintptr) bool
	p        []byte
	n        int
	failed   error
}

func newAsyncConn(c net.Conn) *asyncConn {
	a := &asyncConn{Conn: c}
	a.drained = sync.NewCond(&a.mu)
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			a.raw = raw
		}
	}
	a.tryWrite = a.writeOnce
	return a
}

// Write accepts all of p, or returns the error of an earlier write.
func (a *asyncConn) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return 0, a.err
	}
	if a.flushing {
		a.pending = append(a.pending, p...)
		return len(p), nil
	}
	n := 0
	if a.raw != nil {
		a.p, a.n, a.failed = p, 0, nil
		if err := a.raw.Write(a.tryWrite); err != nil {
			a.failed = err
		}
		n, a.p = a.n, nil
		if a.failed != nil {
			a.err = a.failed
			return n, a.err
		}
	}
	if n < len(p) {
		a.pending = append(a.pending[:0], p[n:]...)
		a.flushing = true
		go a.flush()
	}
	return len(p), nil
}

// backlog returns the number of buffered bytes.
func (a *asyncConn) backlog() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.pending)
}

// waitBelow waits until at most limit bytes are buffered, or a write has failed.
func (a *asyncConn) waitBelow(limit int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.pending) > limit && a.err == nil {
		a.drained.Wait()
	}
}

func (a *asyncConn) flush() {
	var out []byte
	for {
		a.mu.Lock()
		if len(a.pending) == 0 || a.err != nil {
			a.flushing, a.pending = false, nil
			a.drained.Broadcast()
			a.mu.Unlock()
			return
		}
		out, a.pending = a.pending, out[:0]
		a.drained.Broadcast()
		a.mu.Unlock()
		if _, err := a.Conn.Write(out); err != nil {
			a.mu.Lock()
			a.err = err
			a.mu.Unlock()
		}
	}
}

package netconn

import (
	"errors"
	"io"
	"os"
	"time"
)

// maxAhead bounds how many bytes are read of a client ahead of its task. A client
// has nothing to send before its handshake is answered. If it sends more than
// this, its end isn't noticed until the task reads.
const maxAhead = 64 << 10

// readAhead reads what the peer sends into c.first, since Go reports a peer's end
// only to a reader. It returns the error that ended it; nil means that the peer
// has sent too much, or ended its stream on a connection that is kept then.
func (c *Conn) readAhead() error {
	buf := make([]byte, 1) // hardly any client sends anything
	for len(c.first) < maxAhead {
		n, err := c.nc.Read(buf)
		c.first = append(c.first, buf[:n]...)
		switch {
		case err == io.EOF && c.halfOpen:
			return nil
		case err != nil:
			return err
		}
		if len(buf) == 1 {
			buf = make([]byte, 4<<10)
		}
	}
	return nil
}

// watch calls gone, on a goroutine, when c's peer has closed or reset its end.
// c's task must not use c until stop has returned.
func (c *Conn) watch(gone func()) (stop func()) {
	if c.hungUp {
		gone()
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.readAhead(); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.hungUp = true
			gone()
		}
	}()
	return func() {
		c.nc.SetReadDeadline(time.Unix(1, 0)) // wakes it
		<-done
		c.nc.SetReadDeadline(c.deadline)
	}
}

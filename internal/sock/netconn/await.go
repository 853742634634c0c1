package netconn

import (
	"net"
	"os"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// Await is for transport.Await.
func (c *Conn) Await(start func(done func())) error {
	if c.gone {
		return net.ErrClosed
	}
	done, gone := make(chan struct{}), make(chan struct{})
	stop := c.watch(func() { close(gone) })
	defer stop()
	start(func() { close(done) })
	var late <-chan time.Time
	if !c.deadline.IsZero() {
		timer := time.NewTimer(time.Until(c.deadline))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-done:
		return nil
	case <-gone:
		select {
		case <-c.net.done: // it has closed the connection
			return net.ErrClosed
		default:
			return transport.ErrHungUp
		}
	case <-late:
		return os.ErrDeadlineExceeded
	case <-c.net.done:
		return net.ErrClosed
	}
}

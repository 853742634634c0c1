// Package dial is the stage that connects to the backend that was chosen and
// says why it could not, in the few words that the spine acts on.
package dial

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/holdfast-ws/holdfast/internal/transport"
)

// Dialer connects to backends. It is immutable and may be shared.
type Dialer struct {
	Network transport.Network
	Timeout time.Duration // of one attempt; 0 is no bound
}

// Reason is why a backend was not reached. It is a label of metrics and logs.
type Reason string

const (
	Refused     Reason = "refused"
	Timeout     Reason = "timeout"
	Unreachable Reason = "unreachable"
	// Local is a failure on our side: no descriptor, no port left. Another
	// backend would not help.
	Local Reason = "local"
)

// Error is a failed attempt.
type Error struct {
	Addr   netip.AddrPort
	Reason Reason
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("connect to %s: %s (%v)", e.Addr, e.Reason, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Connect connects to addr for the client's task and bounds everything on the
// new connection by deadline, the connect itself also by Timeout. The caller
// owns the connection. Errors are *Error, or transport.ErrHungUp.
func (d *Dialer) Connect(client transport.Conn, addr netip.AddrPort, deadline time.Time) (transport.Conn, error) {
	until := deadline
	if d.Timeout > 0 {
		if t := time.Now().Add(d.Timeout); until.IsZero() || t.Before(until) {
			until = t
		}
	}
	c, err := d.Network.Dial(client, addr, until)
	if err != nil {
		if errors.Is(err, transport.ErrHungUp) {
			return nil, err
		}
		return nil, &Error{Addr: addr, Reason: reason(err), Err: err}
	}
	if err := c.SetDeadline(deadline); err != nil {
		c.Close()
		return nil, &Error{Addr: addr, Reason: Local, Err: err}
	}
	return c, nil
}

func reason(err error) Reason {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return Refused
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE),
		errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.ENOBUFS):
		return Local
	}
	return Unreachable
}

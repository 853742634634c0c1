// Package dial is the stage that connects to the backend that was chosen, with TLS if
// its pool says so. It says why a backend could not be reached. Whether another one is tried is for
// its caller, the spine (internal/proxy), to decide.
package dial

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Dialer connects to backends. It is immutable and may be shared.
type Dialer struct {
	Network transport.Network
	Timeout time.Duration // for the connect, with the TLS handshake; 0 means no limit
}

// Target is a backend to connect to.
type Target struct {
	Addr hostport.Endpoint
	// Header is sent first, before TLS. It may be empty.
	Header []byte
	// TLS is spoken to the backend, whose name is Host; nil means none.
	TLS  TLS
	Host string
}

// TLS makes TLS handshakes with backends.
type TLS interface {
	// Secure makes the handshake with the backend host at addr on conn, within
	// conn's deadline. The result owns conn. After an error, conn is still the
	// caller's. The error wraps transport.ErrHungUp or os.ErrDeadlineExceeded if it
	// was that.
	Secure(conn transport.Conn, host string, addr hostport.Endpoint) (transport.Conn, error)
}

// Reason is why a backend was not reached, in one word.
type Reason string

const (
	Refused     Reason = "refused"
	Timeout     Reason = "timeout"
	Unreachable Reason = "unreachable"
	// TLSFailed is a TLS handshake that failed.
	TLSFailed Reason = "tls"
	// Local is a failure of the balancer: no descriptor, no port left. Another
	// backend would not help.
	Local Reason = "local"
)

// Error is a failed attempt to connect.
type Error struct {
	Addr   hostport.Endpoint
	Reason Reason
	Err    error
}

func (e *Error) Error() string {
	if e.Reason == TLSFailed {
		return fmt.Sprintf("TLS with %s: %v", e.Addr, e.Err)
	}
	return fmt.Sprintf("connect to %s: %s (%v)", e.Addr, e.Reason, e.Err)
}
func (e *Error) Unwrap() error { return e.Err }

// Connect connects to the backend to within the task of parent, a client's connection
// as a rule. deadline applies to everything on the new connection, Timeout to the
// connect and the TLS handshake as well. The caller owns the connection. The error is
// transport.ErrHungUp, or a *failure.Error around an *Error.
func (d *Dialer) Connect(parent transport.Conn, to Target, deadline time.Time) (transport.Conn, error) {
	until := deadline
	if d.Timeout > 0 {
		if t := time.Now().Add(d.Timeout); until.IsZero() || t.Before(until) {
			until = t
		}
	}
	c, err := d.Network.Dial(parent, to.Addr, until)
	if err != nil {
		return nil, failed(to.Addr, reason(err), err)
	}
	if len(to.Header) > 0 {
		if err := introduce(c, to, until); err != nil {
			return nil, err
		}
	}
	if to.TLS != nil {
		if c, err = secure(c, to, until); err != nil {
			return nil, err
		}
	}
	if err := c.SetDeadline(deadline); err != nil {
		c.Close()
		return nil, failed(to.Addr, Local, err)
	}
	return c, nil
}

// introduce sends the header on c, which it closes if that fails.
func introduce(c transport.Conn, to Target, until time.Time) error {
	err := c.SetDeadline(until)
	if err == nil {
		_, err = c.Write(to.Header)
	}
	if err != nil {
		c.Close()
		return failed(to.Addr, reason(err), err)
	}
	return nil
}

// secure makes the TLS handshake on c, which it closes if that fails.
func secure(c transport.Conn, to Target, until time.Time) (transport.Conn, error) {
	if err := c.SetDeadline(until); err != nil {
		c.Close()
		return nil, failed(to.Addr, Local, err)
	}
	secured, err := to.TLS.Secure(c, to.Host, to.Addr)
	if err != nil {
		c.Close()
		why := TLSFailed
		if errors.Is(err, os.ErrDeadlineExceeded) {
			why = Timeout
		}
		return nil, failed(to.Addr, why, err)
	}
	return secured, nil
}

func failed(addr hostport.Endpoint, why Reason, err error) error {
	if errors.Is(err, transport.ErrHungUp) {
		return transport.ErrHungUp
	}
	code := failure.Unreachable
	switch why {
	case TLSFailed:
		code = failure.BackendTLS
	case Timeout:
		code = failure.ConnectTimeout
	case Local:
		code = failure.NoResources
	}
	return failure.Wrap(code, &Error{Addr: addr, Reason: why, Err: err})
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

package attempt

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/clienthello"
)

// maxHello bounds a client's first message in TLS, in bytes: a whole record, as all
// clients send it in.
const maxHello = 5 + 16<<10

// HelloError is a connection that doesn't begin with a ClientHello.
type HelloError struct {
	Alert byte   // of TLS, for the client; 0 is none
	Began []byte // with what, if it isn't TLS at all
	Err   error
}

func (e *HelloError) Error() string { return e.Err.Error() }

// ReadHello reads the client's first message in TLS from c, which goes on to be read:
// Early has everything that was read. The result is valid as long as r is not changed.
// Errors are *failure.Error, around a *HelloError if the client has sent something else.
func (r *Request) ReadHello(c transport.Conn) (hello clienthello.Hello, err error) {
	if r.buf == nil {
		r.buf = make([]byte, usualHead)
	}
	var parser clienthello.Parser
	for {
		if r.have == len(r.buf) {
			if len(r.buf) >= maxHello {
				return hello, notHello(alertDecodeError, nil, fmt.Errorf("the ClientHello is larger than %d bytes", maxHello))
			}
			r.buf = append(make([]byte, 0, maxHello), r.buf...)[:maxHello]
		}
		n, readErr := c.Read(r.buf[r.have:])
		if r.have += n; n > 0 {
			hello, err = parser.Parse(r.buf[:r.have])
			switch {
			case err == nil:
				return hello, nil
			case err == clienthello.ErrNotTLS:
				return hello, notHello(0, r.buf[:min(r.have, 16)], fmt.Errorf("the client doesn't speak TLS: it sent %q", r.buf[:min(r.have, 16)]))
			case err != clienthello.ErrMore:
				return hello, notHello(alertDecodeError, nil, err)
			}
		}
		switch {
		case readErr == nil:
		case r.have == 0:
			return hello, unread(readErr)
		case errors.Is(readErr, os.ErrDeadlineExceeded):
			return hello, notHello(0, nil, errors.New("the ClientHello did not arrive in time"))
		case errors.Is(readErr, io.EOF):
			return hello, failure.Wrap(failure.ClientGone, fmt.Errorf("in the ClientHello: %w", readErr))
		default:
			return hello, failure.Wrap(failure.ClientGone, readErr)
		}
	}
}

// alertDecodeError is of RFC 8446 §6.2.
const alertDecodeError = 50

func notHello(alert byte, began []byte, err error) error {
	return &failure.Error{Code: failure.TLSFailed, Err: &HelloError{alert, began, err}}
}

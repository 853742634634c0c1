package handshake

import (
	"errors"
	"io"
	"os"

	"github.com/holdfast-ws/holdfast/internal/httphead"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// maxInterim is how many interim responses (100 Continue, 103 Early Hints) a
// backend may send before its answer.
const maxInterim = 8

// errTooLarge: the head does not fit the buffer.
var errTooLarge = errors.New("the head is too large")

// parser is a *httphead.Request or *httphead.Response.
type parser interface {
	Parse(b []byte) (n int, err error)
}

// ReadRequest reads a request head from c into buf, which bounds its size. It
// returns the head's length and how many bytes it has read: buf[n:have] are
// early frames, or the body of a plain request.
//
// A malformed, too large, truncated or late head is a *Refusal. A client that
// sent nothing at all is not answered: io.EOF when it closed,
// os.ErrDeadlineExceeded when it was silent. Other errors are c's. With an
// error, buf[:have] is what came.
func ReadRequest(c transport.Conn, buf []byte, req *httphead.Request) (n, have int, err error) {
	n, have, err = readHead(c, buf, 0, req)
	if err != nil {
		return 0, have, brokenRequest(err, have)
	}
	return n, have, nil
}

// brokenRequest makes what readHead said about a client's request into what
// ReadRequest says.
func brokenRequest(err error, have int) error {
	var syntax *httphead.SyntaxError
	switch {
	case err == errTooLarge, err == httphead.ErrTooManyFields:
		return refuseTooLarge
	case errors.As(err, &syntax):
		return refuseMalformed(syntax.Reason)
	case err == io.EOF && have > 0:
		return refuseTruncated
	case errors.Is(err, os.ErrDeadlineExceeded) && have > 0:
		return refuseTimeout
	}
	return err
}

// ReadResponse reads the head of a backend's final response from c into buf,
// which bounds its size. It returns as ReadRequest does; interim responses
// before it are dropped, and buf starts with the final one.
//
// A response that breaks the protocol is a *BackendError. io.EOF: the backend
// closed without a word. Other errors are c's.
func ReadResponse(c transport.Conn, buf []byte, resp *httphead.Response) (n, have int, err error) {
	for range maxInterim + 1 {
		n, have, err = readHead(c, buf, have, resp)
		if err != nil {
			return 0, have, brokenResponse(err, have)
		}
		// A 101 is final (RFC 9110 §15.2); what follows it is no HTTP.
		if resp.Status >= 200 || resp.Status == 101 {
			return n, have, nil
		}
		have = copy(buf, buf[n:have])
	}
	return 0, have, errInterim
}

// brokenResponse makes what readHead said about a backend's response into what
// ReadResponse says.
func brokenResponse(err error, have int) error {
	var syntax *httphead.SyntaxError
	switch {
	case err == errTooLarge, err == httphead.ErrTooManyFields:
		return &BackendError{Reason: ReasonTooLarge}
	case errors.As(err, &syntax):
		return &BackendError{Reason: ReasonMalformed, Err: err}
	case err == io.EOF && have > 0:
		return &BackendError{Reason: ReasonMalformed, Err: io.ErrUnexpectedEOF}
	}
	return err
}

// readHead reads until buf[:have] starts with a head, of which there are
// already have bytes.
func readHead(c transport.Conn, buf []byte, have int, head parser) (n, now int, err error) {
	seen := 0 // by EndOfHead; the first piece goes to Parse, which tells garbage at once
	for {
		if have > 0 && (seen == 0 || httphead.EndOfHead(buf[:have], seen) > 0) {
			if n, err = head.Parse(buf[:have]); n > 0 || err != nil {
				return n, have, err
			}
		}
		if seen = have; have == len(buf) {
			return 0, have, errTooLarge
		}
		got, err := c.Read(buf[have:])
		if have += got; got == 0 && err != nil {
			return 0, have, err
		}
	}
}

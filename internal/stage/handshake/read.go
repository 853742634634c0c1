package handshake

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// maxInterim is how many interim responses (100 Continue, 103 Early Hints) a
// backend may send before its final one.
const maxInterim = 8

// errTooLarge means that the head doesn't fit in the buffer, errTargetTooLong that
// not even the first line of a request does.
var (
	errTooLarge      = errors.New("the head is too large")
	errTargetTooLong = errors.New("the request's target is too long")
)

// parser is a *httphead.Request or *httphead.Response.
type parser interface {
	Parse(b []byte) (n int, err error)
}

// ReadRequest reads a request head from c into buf, which bounds its size. It
// returns the head's length and how many bytes it has read: buf[n:have] are early
// frames, or the body of a plain request.
//
// The error for a malformed, too large, truncated or late head is a *failure.Error
// with a Refusal. If the client has sent nothing at all, the error is io.EOF after
// it has closed and os.ErrDeadlineExceeded otherwise. Other errors are those of c.
// After an error, buf[:have] is what was read.
func ReadRequest(c transport.Conn, buf []byte, req *httphead.Request) (n, have int, err error) {
	n, have, err = readHead(c, buf, 0, req)
	if err != nil {
		if err == errTooLarge && bytes.IndexByte(buf, '\n') < 0 {
			err = errTargetTooLong
		}
		// Empty lines are no request.
		return 0, have, brokenRequest(err, len(bytes.Trim(buf[:have], "\r\n")))
	}
	return n, have, nil
}

// brokenRequest turns an error of readHead into one of ReadRequest. have is the
// number of bytes that were read.
func brokenRequest(err error, have int) error {
	var syntax *httphead.SyntaxError
	switch {
	case err == errTooLarge, err == httphead.ErrTooManyFields:
		return refuseTooLarge
	case err == errTargetTooLong:
		return refuseTooLong
	case errors.As(err, &syntax):
		return refuseMalformed(syntax)
	case err == io.EOF && have > 0:
		return refuseTruncated
	case errors.Is(err, os.ErrDeadlineExceeded) && have > 0:
		return refuseTimeout
	}
	return err
}

// ReadResponse reads the head of a backend's final response from c into buf,
// which bounds its size. It returns the same as ReadRequest. It drops interim
// responses, so that buf starts with the final one.
//
// The error wraps a *BackendError if the response breaks the protocol. It is io.EOF
// if the backend closed without a response. Other errors are those of c.
func ReadResponse(c transport.Conn, buf []byte, resp *httphead.Response) (n, have int, err error) {
	for range maxInterim + 1 {
		n, have, err = readHead(c, buf, have, resp)
		if err != nil {
			return 0, have, brokenResponse(err, have)
		}
		// A 101 is final (RFC 9110 §15.2); what follows it isn't HTTP.
		if resp.Status >= 200 || resp.Status == 101 {
			return n, have, nil
		}
		have = copy(buf, buf[n:have])
	}
	return 0, have, errInterim
}

// brokenResponse turns an error of readHead into one of ReadResponse.
func brokenResponse(err error, have int) error {
	var syntax *httphead.SyntaxError
	switch {
	case err == errTooLarge, err == httphead.ErrTooManyFields:
		return broken(ReasonTooLarge, nil)
	case errors.As(err, &syntax):
		return broken(ReasonMalformed, err)
	case err == io.EOF && have > 0:
		return broken(ReasonMalformed, io.ErrUnexpectedEOF)
	}
	return err
}

// readHead reads until buf starts with a head, of which there are already have
// bytes.
func readHead(c transport.Conn, buf []byte, have int, head parser) (n, now int, err error) {
	seen := 0 // by EndOfHead; the first piece goes to Parse, which detects garbage at once
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

package attempt

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// The errors of connections come as they are. Only here is it known whose they
// are, and what that means.

// unread classifies an error of reading a client's request.
func unread(err error) error {
	switch {
	case err == nil, isClassified(err):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded):
		return failure.Wrap(failure.NothingAsked, err)
	}
	return failure.Wrap(failure.ClientGone, err)
}

// unanswered classifies an error of writing a request to a backend that took the
// connection, or of reading its answer.
func (t *Try) unanswered(err error) error {
	if t.pool.TLS != nil {
		// In TLS 1.3 a backend that rejects the balancer's certificate says so only
		// when the handshake seems to be done (RFC 8446 §4.4.2.4).
		if told := t.pool.TLS.Rejection(err); told != nil {
			return failure.Wrap(failure.BackendTLS, told)
		}
	}
	switch {
	case isClassified(err):
		return err
	case errors.Is(err, transport.ErrHungUp):
		return failure.Wrap(failure.ClientGone, err)
	case errors.Is(err, io.EOF):
		return failure.New(failure.Silent, "closed the connection without an answer")
	}
	code := failure.Silent
	if errors.Is(err, os.ErrDeadlineExceeded) {
		code = failure.AnswerTimeout
	}
	return failure.Wrap(code, fmt.Errorf("gave no answer: %w", err))
}

// lastWords returns the error of reading instead of err, that of a write, if it says
// more: a backend that rejects the balancer's certificate sends an alert and closes the
// connection, which may reset it before the request is written.
func (t *Try) lastWords(err error) error {
	if t.pool.TLS == nil {
		return err
	}
	if _, read := t.Conn.Read(t.buf); read != nil && t.pool.TLS.Rejection(read) != nil {
		return read
	}
	return err
}

// unlessClientGone classifies transport.ErrHungUp, and leaves other errors
// unchanged.
func unlessClientGone(err error) error {
	if errors.Is(err, transport.ErrHungUp) {
		return failure.Wrap(failure.ClientGone, err)
	}
	return err
}

func isClassified(err error) bool {
	var f *failure.Error
	return errors.As(err, &f)
}

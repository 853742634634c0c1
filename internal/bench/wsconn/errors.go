package wsconn

import (
	"errors"
	"fmt"
)

// ErrBacklog is returned by Send when the peer has not read for so long that
// more than MaxBacklog bytes wait. Nothing of the message was sent.
var ErrBacklog = errors.New("the peer doesn't read: too much waits to be sent")

// CloseError is a Close frame from the peer.
type CloseError struct {
	Code   uint16 // 0 where the frame had none (1005 in RFC 6455 §7.1.5)
	Reason string
}

func (e *CloseError) Error() string {
	if e.Code == 0 {
		return "closed by the peer without a code"
	}
	if e.Reason == "" {
		return fmt.Sprintf("closed by the peer with %d", e.Code)
	}
	return fmt.Sprintf("closed by the peer with %d %q", e.Code, e.Reason)
}

// StatusError is an answer to the opening handshake that is no 101.
type StatusError struct {
	Status int
	Reason string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the handshake was answered with %d %s", e.Status, e.Reason)
}

// HandshakeError is an answer that is no HTTP/1.1, or a 101 that RFC 6455 §4.1
// has a client refuse.
type HandshakeError struct{ Reason string }

func (e *HandshakeError) Error() string { return "bad handshake: " + e.Reason }

// ProtocolError is a violation of RFC 6455 framing.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string { return "bad frame: " + e.Reason }

// DialError is a failure before the opening handshake, in Step "connect" or
// "TLS".
type DialError struct {
	Step string
	Err  error
}

func (e *DialError) Error() string { return e.Step + ": " + e.Err.Error() }
func (e *DialError) Unwrap() error { return e.Err }

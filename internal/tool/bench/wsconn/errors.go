package wsconn

import (
	"errors"
	"fmt"
)

// ErrBacklog is returned by Send if more than MaxBacklog bytes are buffered because
// the peer doesn't read. Nothing of the message was sent.
var ErrBacklog = errors.New("the peer doesn't read: too much waits to be sent")

// CloseError is a Close frame from the peer.
type CloseError struct {
	Code   uint16 // 0 if the frame had none (1005 in RFC 6455 §7.1.5)
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

// StatusError is a response to the opening handshake other than 101.
type StatusError struct {
	Status int
	Reason string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the handshake was answered with %d %s", e.Status, e.Reason)
}

// HandshakeError is a response that isn't HTTP/1.1, or a 101 that a client must
// reject according to RFC 6455 §4.1.
type HandshakeError struct{ Reason string }

func (e *HandshakeError) Error() string { return "bad handshake: " + e.Reason }

// ProtocolError is a violation of RFC 6455 framing.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string { return "bad frame: " + e.Reason }

// DialError is an error before the opening handshake. Step is "connect" or "TLS".
type DialError struct {
	Step string
	Err  error
}

func (e *DialError) Error() string { return e.Step + ": " + e.Err.Error() }
func (e *DialError) Unwrap() error { return e.Err }

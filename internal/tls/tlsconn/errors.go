package tlsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
)

// HandshakeError is a handshake that failed. os.ErrDeadlineExceeded, io.EOF and
// transport.ErrHungUp can be found in it by errors.Is.
type HandshakeError struct {
	// Plain is the beginning of what came instead of TLS, at least five bytes; nil if
	// it was TLS.
	Plain []byte
	// Nothing means that not one byte has come.
	Nothing bool
	// ServerName is the name that was asked for (SNI), as far as the handshake got.
	ServerName string
	Err        error
}

func (e *HandshakeError) Error() string { return e.Err.Error() }
func (e *HandshakeError) Unwrap() error { return e.Err }

// Alert returns the alert with which the peer ended the handshake.
func (e *HandshakeError) Alert() (description uint8, ok bool) {
	var remote *net.OpError
	if errors.As(e.Err, &remote) && remote.Op == "remote error" && remote.Err != nil {
		// The type of crypto/tls has no exported name, but its text is that of
		// tls.AlertError.
		for a := range 256 {
			if tls.AlertError(a).Error() == remote.Err.Error() {
				return uint8(a), true
			}
		}
	}
	return 0, false
}

// explained is an error with a text of ours.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// isBadMAC reports whether crypto/tls couldn't decrypt a record.
func isBadMAC(err error) bool {
	const badRecordMAC = tls.AlertError(20)
	var local *net.OpError
	return errors.As(err, &local) && local.Op == "local error" && local.Err != nil && local.Err.Error() == badRecordMAC.Error()
}

// failed makes the error of a handshake. err is of crypto/tls, or of the connection.
func (h *handshake) failed(err error) *HandshakeError {
	if a := h.wire.alert; h.wire.alertLen == len(a) && isBadMAC(err) {
		// OpenSSL encrypts its alerts in TLS 1.3 only from its Finished on, so that
		// crypto/tls can't decrypt the one about our certificate.
		err = &net.OpError{Op: "remote error", Err: tls.AlertError(a[1])}
	}
	e := &HandshakeError{Nothing: !h.wire.began, Err: err}
	var header tls.RecordHeaderError
	if errors.As(err, &header) {
		if header.Conn != nil {
			e.Plain = append([]byte(nil), h.wire.in.b[:h.wire.in.to]...)
		}
		header.Conn = nil // another handshake will have it
		e.Err = header
	}
	if read := h.wire.readErr; read != nil && (err == io.EOF || err == io.ErrUnexpectedEOF) {
		e.Err = read
	}
	peer := "the client"
	if h.isClient {
		peer = "the server"
	}
	e.Err = &explained{h.text(e, peer), e.Err}
	return e
}

func (h *handshake) text(e *HandshakeError, peer string) string {
	alert, isAlert := e.Alert()
	switch {
	case e.Plain != nil:
		return peer + " doesn't speak TLS"
	case isAlert:
		return peer + " ended the TLS handshake with the alert " + tlsrec.AlertName(alert) + alertHints[alert]
	case errors.Is(e.Err, transport.ErrHungUp):
		return e.Err.Error()
	case errors.Is(e.Err, os.ErrDeadlineExceeded) && e.Nothing:
		return peer + " has sent nothing"
	case errors.Is(e.Err, os.ErrDeadlineExceeded):
		return peer + " did not complete the TLS handshake in time"
	case errors.Is(e.Err, io.EOF), errors.Is(e.Err, syscall.ECONNRESET), errors.Is(e.Err, syscall.EPIPE):
		return peer + " closed the connection in the TLS handshake"
	}
	text := strings.TrimPrefix(e.Err.Error(), "tls: ")
	return text[:min(len(text), maxText)] // it may have what the peer has sent
}

// maxText is the length of the longest text of an error.
const maxText = 300

// alertHints say what is likely to be wrong where the name of an alert doesn't, RFC
// 8446 §6.2.
var alertHints = map[uint8]string{
	40:  ": no cipher suite or group in common, or a missing certificate",
	42:  ": it doesn't accept our certificate",
	43:  ": it can't use the kind of our certificate",
	46:  ": it doesn't accept our certificate",
	48:  ": it doesn't trust the authority that signed our certificate",
	70:  ": it wants another version of TLS",
	112: ": it has no certificate for the name",
	116: ": it wants a certificate of ours",
	120: ": no protocol in common (ALPN)",
}

package backendtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
)

// Results of a handshake, for the metrics.
const (
	OK        = "ok"
	Untrusted = "untrusted" // the backend's certificate isn't accepted
	Rejected  = "rejected"  // the backend sent an alert
	NotTLS    = "not_tls"   // it doesn't speak TLS
	Timeout   = "timeout"
	Cancelled = "cancelled" // the client has gone, or the handshake wasn't wanted any more
	Failed    = "failed"    // anything else, such as a connection that ended
)

// Results lists every result of a handshake.
func Results() []string {
	return []string{OK, Untrusted, Rejected, NotTLS, Timeout, Cancelled, Failed}
}

// resultOf is the result of a handshake that failed with err.
func resultOf(err error) string {
	var (
		plain     tls.RecordHeaderError
		failed    *tlsconn.HandshakeError
		untrusted *tls.CertificateVerificationError
		roots     x509.SystemRootsError
	)
	_, alert := alertOf(err)
	switch {
	case errors.As(err, &failed) && failed.Plain != nil, errors.As(err, &plain):
		return NotTLS
	case alert:
		return Rejected
	case errors.As(err, &untrusted), errors.As(err, &roots):
		return Untrusted
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, transport.ErrHungUp), errors.Is(err, context.Canceled):
		return Cancelled
	}
	return Failed
}

package backendtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
)

// Error is a handshake that failed, or a certificate of ours that a backend
// rejected.
type Error struct {
	Text string // what is wrong, and what to do about it
	Err  error
}

func (e *Error) Error() string { return e.Text }
func (e *Error) Unwrap() error { return e.Err }

// explain returns the error of a handshake with the backend name.
func (c *Client) explain(err error, name string) error {
	return &Error{c.text(err, name), err}
}

func (c *Client) text(err error, name string) string {
	var (
		plain    tls.RecordHeaderError
		failed   *tlsconn.HandshakeError
		unknown  x509.UnknownAuthorityError
		mismatch x509.HostnameError
		invalid  x509.CertificateInvalidError
		roots    x509.SystemRootsError
		sans     *sanError
	)
	alert, ok := alertOf(err)
	switch {
	case errors.As(err, &failed) && failed.Plain != nil, errors.As(err, &plain):
		return fmt.Sprintf("the backend doesn't speak TLS on this port: remove pools.%s.tls, or change the address", c.options.Pool)
	case ok:
		return c.rejected(alert, name)
	case errors.As(err, &mismatch):
		return fmt.Sprintf("its certificate is %s, not for %s: set %s to one of its names, or give the backend a certificate with this one",
			namesOf(mismatch.Certificate), hint.Quote(name), keyOf(&c.options, "server_name"))
	case errors.As(err, &sans):
		return sans.text()
	case errors.As(err, &unknown):
		return c.unknown(unknown.Cert)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return expired(invalid.Cert)
	case errors.As(err, &invalid):
		return "its certificate can't be verified: " + hint.Cut(strings.TrimPrefix(invalid.Error(), "x509: "))
	case errors.As(err, &roots):
		return fmt.Sprintf("this system has no certificates of authorities: set %s to a file with that of the backend's", keyOf(&c.options, "ca"))
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "it did not answer the TLS handshake in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "it closed the connection in the TLS handshake: see its log, and whether it speaks TLS on this port"
	}
	return "the TLS handshake failed: " + hint.Cut(strings.TrimPrefix(err.Error(), "tls: "))
}

func (c *Client) unknown(cert *x509.Certificate) string {
	by := ""
	if cert != nil {
		by = " " + hint.Quote(cert.Issuer.String())
	}
	text := fmt.Sprintf("its certificate is signed by the unknown authority%s: ", by)
	if c.options.CA == "" {
		return text + fmt.Sprintf("set %s to a file with that authority's certificate, or let the backend send its whole chain", keyOf(&c.options, "ca"))
	}
	return text + fmt.Sprintf("add that authority's certificate to %s, which is %s, or let the backend send its whole chain", hint.Quote(c.options.CA), keyOf(&c.options, "ca"))
}

// namesOf says for whom a certificate is. Its text is the backend's.
func namesOf(cert *x509.Certificate) string {
	names := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	const most = 3
	more := len(names) - most
	if len(names) == 0 {
		return "for no name or address (its common name doesn't count)"
	}
	names = names[:min(len(names), most)]
	for i := range names {
		names[i] = hint.Quote(names[i])
	}
	text := "for " + strings.Join(names, ", ")
	if more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func expired(cert *x509.Certificate) string {
	const form = "2006-01-02 15:04 UTC"
	if time.Now().Before(cert.NotBefore) {
		return fmt.Sprintf("its certificate is valid only from %s: look at the clocks of both machines", cert.NotBefore.UTC().Format(form))
	}
	return fmt.Sprintf("its certificate has expired, it was valid until %s: renew it", cert.NotAfter.UTC().Format(form))
}

// alertOf returns the alert that a peer has sent.
func alertOf(err error) (alert uint8, ok bool) {
	var ours *tlsrec.Error
	if errors.As(err, &ours) && ours.FromPeer {
		return ours.Alert, true
	}
	return (&tlsconn.HandshakeError{Err: err}).Alert() // of crypto/tls
}

// Rejection returns an error that explains err if that is an alert with which a
// backend ends the connection after the handshake; otherwise nil.
func (c *Client) Rejection(err error) error {
	alert, ok := alertOf(err)
	if !ok {
		return nil
	}
	return &Error{c.rejected(alert, ""), err}
}

// Alerts of RFC 8446 §6.2.
const (
	handshakeFailure    = 40
	badCertificate      = 42
	certificateUnknown  = 46
	unknownCA           = 48
	accessDenied        = 49
	protocolVersion     = 70
	unrecognizedName    = 112
	certificateRequired = 116
	noProtocol          = 120
)

// rejected says what an alert of the backend name means; "" is after the handshake.
func (c *Client) rejected(alert uint8, name string) string {
	o := &c.options
	text := "it ended the TLS handshake with the alert " + tlsrec.AlertName(alert)
	if name == "" {
		text = "it ended the TLS connection with the alert " + tlsrec.AlertName(alert)
	}
	without := o.Cert == ""
	switch {
	case alert == certificateRequired || without && (alert == handshakeFailure || alert == badCertificate):
		if without {
			return text + fmt.Sprintf(": if it wants a certificate of the balancer, set %s and %s", keyOf(o, "cert"), keyOf(o, "key"))
		}
		return text + fmt.Sprintf(": it was shown %s, see its log", keyOf(o, "cert"))
	case alert >= badCertificate && alert <= certificateUnknown || alert == unknownCA || alert == accessDenied:
		if without {
			return text
		}
		return text + fmt.Sprintf(": it doesn't accept %s, %s", keyOf(o, "cert"), hint.Quote(o.Cert))
	case alert == protocolVersion:
		return text + ": the balancer wants TLS 1.2 or 1.3"
	case alert == handshakeFailure:
		return text + ": it has no cipher suite or group in common with the balancer, or doesn't accept its certificate"
	case alert == unrecognizedName && name != "":
		return text + fmt.Sprintf(": it has no certificate for %s, see %s", hint.Quote(name), keyOf(o, "server_name"))
	case alert == noProtocol:
		return text + ": it doesn't speak http/1.1"
	}
	return text
}

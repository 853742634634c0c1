package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"syscall"
)

// unreachable explains why there was no response and what to do.
func (c *Client) unreachable(err error) error {
	_, unix := unixPath(c.address)
	var dns *net.DNSError
	var op *net.OpError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no balancer answers at %s: timed out", c.address)
	case unix && errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no balancer answers at %s: there is no such socket; is it running?", c.address)
	case unix && errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no balancer answers at %s: the one that made the socket is gone", c.address)
	case unix && errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission for %s: use sudo, or join the group of the socket", c.address)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no balancer answers at %s: is it running, with admin: {address: %s} in its file or --admin %s?", c.address, c.address, c.address)
	case errors.As(err, &dns):
		return fmt.Errorf("admin address %s: the host %q can't be resolved", c.address, dns.Name)
	case errors.As(err, &untrusted):
		return fmt.Errorf("the certificate of %s isn't trusted: %s", c.address, verification(untrusted.Err))
	case errors.As(err, &alert):
		return fmt.Errorf("%s refuses the TLS handshake: %w; does it want a client certificate?", c.address, alert)
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%s doesn't speak TLS: it has no admin.tls, or is another server", c.address)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%s closed the connection without a response", c.address)
	case errors.As(err, &op):
		return fmt.Errorf("no balancer answers at %s: %w", c.address, op.Err)
	}
	// Leave out "Get http://...: ".
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("no balancer answers at %s: %w", c.address, err)
}

// verification leaves out the prefixes of Go's packages.
func verification(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "it is signed by an unknown authority; name its CA with --ca"
	}
	return strings.TrimPrefix(err.Error(), "x509: ")
}

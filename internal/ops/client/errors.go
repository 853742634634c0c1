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

// Unreachable says why no balancer has answered, and what to do.
type Unreachable struct {
	Address string // that of the Client
	Text    string // one line
	Err     error  // of the connection
}

func (u *Unreachable) Error() string { return u.Text }
func (u *Unreachable) Unwrap() error { return u.Err }

// unreachable explains why there was no response: an *Unreachable, unless the request was
// canceled.
func (c *Client) unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	// Leave out "Get http://...: ".
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return &Unreachable{c.address, c.explain(err), err}
}

func (c *Client) explain(err error) string {
	path, unix := unixPath(c.address)
	none := "no balancer answers at " + c.address + ": "
	var dns *net.DNSError
	var op *net.OpError
	var record tls.RecordHeaderError
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return none + "timed out"
	case unix && errors.Is(err, fs.ErrNotExist):
		return none + "there is no such socket; is it running?"
	case unix && errors.Is(err, syscall.ECONNREFUSED):
		return none + "the one that made the socket is gone"
	case unix && errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("no permission for %s: use sudo, or join the group %s", c.address, groupOf(path))
	case errors.Is(err, syscall.ECONNREFUSED) && c.sockets != nil:
		return fmt.Sprintf("no balancer found on this machine: none has a socket %s, and nothing listens at %s: is it running? --admin says where else",
			strings.Join(c.sockets, " or "), c.address)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("%sis it running, with admin: {address: %s} in its file or --admin %s?", none, c.address, c.address)
	case errors.As(err, &dns):
		return fmt.Sprintf("admin address %s: the host %q can't be resolved", c.address, dns.Name)
	case errors.As(err, &untrusted):
		return fmt.Sprintf("the certificate of %s isn't trusted: %s", c.address, verification(untrusted.Err))
	case errors.As(err, &op) && op.Op == "remote error": // an alert of TLS, whose type isn't exported
		return fmt.Sprintf("%s refuses the TLS connection: %v; --cert and --key name a certificate for it", c.address, op.Err)
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Sprintf("%s doesn't speak TLS: it has no admin.tls, or is another server", c.address)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		text := c.address + " closed the connection without a response"
		if strings.HasPrefix(c.base, "https:") { // the reason, an alert of TLS, may have been lost
			text += "; --cert and --key name a certificate for it, if it wants one"
		}
		return text
	case errors.As(err, &op):
		err = op.Err
	}
	return none + err.Error()
}

// verification leaves out the prefixes of Go's packages.
func verification(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "it is signed by an unknown authority; name its CA with --ca"
	}
	return strings.TrimPrefix(err.Error(), "x509: ")
}

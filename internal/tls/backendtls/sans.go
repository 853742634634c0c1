package backendtls

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// sanError says that a certificate has none of Options.SANs.
type sanError struct {
	cert *x509.Certificate
	want []string
}

func (e *sanError) Error() string {
	return fmt.Sprintf("x509: the certificate has none of the names %s", strings.Join(e.want, ", "))
}

// verifySANs makes base verify certificates by Options.SANs. crypto/tls can compare only
// the name that the backend is asked for, so its verification is replaced as a whole;
// VerifyConnection is also called for sessions that are resumed.
func (c *Client) verifySANs() {
	c.base.InsecureSkipVerify = true
	c.base.VerifyConnection = func(cs tls.ConnectionState) error {
		leaf := cs.PeerCertificates[0] // crypto/tls has checked that there is one
		o := x509.VerifyOptions{Roots: c.base.RootCAs, Intermediates: x509.NewCertPool()}
		for _, cert := range cs.PeerCertificates[1:] {
			o.Intermediates.AddCert(cert)
		}
		_, err := leaf.Verify(o)
		if err == nil && !slices.ContainsFunc(c.options.SANs, func(san string) bool { return hasSAN(leaf, san) }) {
			err = &sanError{leaf, c.options.SANs}
		}
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
		}
		return nil
	}
}

// hasSAN reports whether a certificate has a name.
func hasSAN(cert *x509.Certificate, san string) bool {
	_, err := netip.ParseAddr(san)
	switch {
	case err != nil && strings.Contains(san, ":"):
		for _, u := range cert.URIs {
			if u.String() == san {
				return true
			}
		}
		return false
	case strings.HasPrefix(san, "*."):
		return slices.ContainsFunc(cert.DNSNames, func(name string) bool { return strings.EqualFold(name, san) })
	}
	return cert.VerifyHostname(san) == nil
}

// text says what to do about the error.
func (e *sanError) text() string {
	names := make([]string, len(e.want))
	for i, n := range e.want {
		names[i] = hint.Quote(n)
	}
	return fmt.Sprintf("its certificate is %s, and must have one of the names %s: give the backend another certificate, or change the names", namesOf(e.cert), strings.Join(names, ", "))
}

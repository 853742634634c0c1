package clientcert

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Condition is what is asked of a client's certificate. All that is given must be true
// of it; of a list, one item. It is immutable.
type Condition struct {
	// Verified false means that the client has shown no certificate. All else needs
	// one.
	Verified    *bool
	CommonNames []pattern.Text // of the subject
	DNS         []pattern.Host // an alternative name
	URIs        []pattern.Text // an alternative name
	Issuers     []pattern.Text // as the fact Issuer
	// Fingerprints are of the certificate, as the fact Fingerprint.
	Fingerprints []Print
}

// Print is a fingerprint: SHA-256.
type Print [sha256.Size]byte

// ParsePrint parses hexadecimal digits, with or without colons between the bytes.
func ParsePrint(s string) (p Print, err error) {
	digits := s
	if strings.Contains(s, ":") {
		digits = strings.ReplaceAll(s, ":", "")
		if len(s) != 3*len(p)-1 {
			digits = ""
		}
	}
	if b, err := hex.DecodeString(digits); err == nil && len(b) == len(p) {
		return Print(b), nil
	}
	return p, fmt.Errorf("bad fingerprint %s: write the SHA-256 of the certificate, 64 hexadecimal digits, as openssl x509 -noout -sha256 -fingerprint shows it", hint.Quote(s))
}

// String returns the digits without colons.
func (p Print) String() string { return hex.EncodeToString(p[:]) }

// Matches reports whether cert, which was verified, is as c says; it is nil if the client
// has shown none. It allocates for Issuers and URIs only.
func (c *Condition) Matches(cert *x509.Certificate) bool {
	if c.Verified != nil && *c.Verified != (cert != nil) {
		return false
	}
	if cert == nil {
		return c.CommonNames == nil && c.DNS == nil && c.URIs == nil && c.Issuers == nil && c.Fingerprints == nil
	}
	return (c.CommonNames == nil || matchesOne(c.CommonNames, cert.Subject.CommonName)) &&
		(c.DNS == nil || c.matchesDNS(cert)) &&
		(c.URIs == nil || c.matchesURI(cert)) &&
		(c.Fingerprints == nil || slices.Contains(c.Fingerprints, Print(sha256.Sum256(cert.Raw)))) &&
		(c.Issuers == nil || matchesOne(c.Issuers, Issuer.of(cert)))
}

func (c *Condition) matchesDNS(cert *x509.Certificate) bool {
	for _, name := range cert.DNSNames {
		for _, p := range c.DNS {
			if pattern.MatchHost(p, pattern.BareHost(name)) {
				return true
			}
		}
	}
	return false
}

func (c *Condition) matchesURI(cert *x509.Certificate) bool {
	for _, uri := range cert.URIs {
		if matchesOne(c.URIs, uri.String()) {
			return true
		}
	}
	return false
}

func matchesOne[S ~string | ~[]byte](patterns []pattern.Text, s S) bool {
	for _, p := range patterns {
		if pattern.MatchText(p, s) {
			return true
		}
	}
	return false
}

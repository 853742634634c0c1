package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// check reports what makes a certificate unusable for a server. part is the file that
// has the key.
func check(p Pair, part Part, chain []*x509.Certificate, key crypto.Signer) *FileError {
	leaf := chain[0]
	matches := func(c *x509.Certificate) bool {
		public, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		return ok && public.Equal(key.Public())
	}
	if !matches(leaf) {
		if i := slices.IndexFunc(chain, matches); i > 0 {
			return at(Cert, p.Cert, 0, "the private key belongs to certificate %d in it: put the server's own certificate first", i+1)
		}
		return at(part, p.keyFile(), 0, "the private key doesn't belong to the certificate in %s, which is for %s: use the key that this certificate was made with", quote(p.Cert), summary(leaf))
	}
	if bad := supported(key.Public()); bad != "" {
		return at(part, p.keyFile(), 0, "%s", bad)
	}
	if p.Client {
		return nil
	}
	if len(names(leaf)) == 0 && !p.InMemory { // else a program may know which names it is for
		return at(Cert, p.Cert, 0, "the certificate has no names (subjectAltName), and clients ignore its subject: get one with the names that clients connect to")
	}
	server := func(u x509.ExtKeyUsage) bool { return u == x509.ExtKeyUsageServerAuth || u == x509.ExtKeyUsageAny }
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0 && !slices.ContainsFunc(leaf.ExtKeyUsage, server) {
		return at(Cert, p.Cert, 0, "the certificate for %s isn't for servers (its extended key usage lacks serverAuth), so clients reject it", summary(leaf))
	}
	return nil
}

// supported says what is wrong with a kind of key; "" for nothing.
func supported(public crypto.PublicKey) string {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return ""
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return ""
		}
		return fmt.Sprintf("ECDSA keys on the curve %s can't be used in TLS: use P-256", k.Curve.Params().Name)
	case *rsa.PublicKey:
		if k.N.BitLen() >= 2048 {
			return ""
		}
		return fmt.Sprintf("clients reject RSA keys of %d bits: use ECDSA P-256, or RSA with 2048 bits", k.N.BitLen())
	}
	return fmt.Sprintf("keys of the kind %T can't be used in TLS: use ECDSA P-256", public)
}

// checkTime reports whether a certificate is valid now.
func checkTime(p Pair, leaf *x509.Certificate, now time.Time) (bad *FileError) {
	switch {
	case now.After(leaf.NotAfter):
		bad = at(Cert, p.Cert, 0, "the certificate for %s has expired at %s: renew it", summary(leaf), utc(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		bad = at(Cert, p.Cert, 0, "the certificate for %s is not valid before %s, and it is %s now: is the clock right?", summary(leaf), utc(leaf.NotBefore), utc(now))
	default:
		return nil
	}
	bad.Untimely = true
	return bad
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// names are the names and addresses that a certificate is for.
func names(c *x509.Certificate) (all []string) {
	for _, n := range c.DNSNames {
		// Nothing else can be the name of a host, or belongs into a log.
		if n = canonical(n); n != "" && strings.IndexFunc(n, func(r rune) bool { return r <= ' ' || r > '~' }) < 0 {
			all = append(all, n)
		}
	}
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

// summary is the names of a certificate, in a form that is safe and short enough for
// a message.
func summary(c *x509.Certificate) string {
	all := names(c)
	switch {
	case len(all) == 0:
		return "no name"
	case len(all) > 3:
		all = append(all[:2:2], fmt.Sprintf("%d others", len(all)-2))
	}
	return quote(strings.Join(all, ", "))
}

// canonical is the form in which names are compared.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Package testca is a certificate authority for tests.
package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// CA is a certificate authority. Its certificate, and those that it issues, are
// valid for the next day.
type CA struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	PEM  []byte
}

var serials atomic.Int64

// New makes a CA. t fails if that fails, or if a later call of the CA does.
func New(t testing.TB) *CA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &CA{t: t, key: key}
	template := ca.template()
	template.Subject.CommonName = "holdfast test CA"
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	ca.PEM = encode("CERTIFICATE", der)
	return ca
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (*CA) template() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serials.Add(1)),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

// Pool has the CA's certificate.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// File writes the CA's certificate to a file.
func (ca *CA) File() string { return write(ca.t, "ca.pem", ca.PEM) }

func write(t testing.TB, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Pair is a certificate and its key.
type Pair struct {
	t        testing.TB
	Cert     []byte // PEM
	Key      []byte // PEM
	TLS      tls.Certificate
	NotAfter time.Time
}

// Issue issues a certificate for names, which may be IP addresses, that servers and
// clients can use. The first is its common name, too.
func (ca *CA) Issue(names ...string) *Pair {
	ca.t.Helper()
	return ca.IssueLike(func(*x509.Certificate) {}, names...)
}

// Expired issues one that is valid until a minute ago.
func (ca *CA) Expired(names ...string) *Pair {
	ca.t.Helper()
	return ca.IssueLike(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, names...)
}

// IssueLike is Issue with a certificate that change has changed.
func (ca *CA) IssueLike(change func(*x509.Certificate), names ...string) *Pair {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	template := ca.template()
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for i, name := range names {
		if i == 0 {
			template.Subject = pkix.Name{CommonName: name}
		}
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		ca.t.Fatal(err)
	}
	p := &Pair{t: ca.t, Cert: encode("CERTIFICATE", der), Key: encode("PRIVATE KEY", secret), NotAfter: template.NotAfter}
	if p.TLS, err = tls.X509KeyPair(p.Cert, p.Key); err != nil {
		ca.t.Fatal(err)
	}
	return p
}

// Files writes the certificate and its key to files.
func (p *Pair) Files() (cert, key string) {
	return write(p.t, "cert.pem", p.Cert), write(p.t, "key.pem", p.Key)
}

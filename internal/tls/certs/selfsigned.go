package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"strings"
	"time"
)

// selfSignedDays is for how long a self-signed certificate is valid. Clients that
// are told to trust one reject it if that is more than 825 days.
const selfSignedDays = 365

// selfSigned makes a certificate for localhost and the name of this machine.
func selfSigned(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "holdfast self-signed"},
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.AddDate(0, 0, selfSignedDays),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if host, err := os.Hostname(); err == nil && isHostName(host) && !strings.EqualFold(host, "localhost") {
		template.DNSNames = append(template.DNSNames, canonical(host))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// SelfSigned returns the certificate that was made in memory; nil if there is none.
func (w *Watcher) SelfSigned() *x509.Certificate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.self == nil {
		return nil
	}
	return w.self.Leaf
}

// isHostName reports whether a machine's name can be in a certificate.
func isHostName(s string) bool {
	return s != "" && len(s) <= 253 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789.-_") == "" &&
		!strings.Contains(s, "..") && !strings.HasPrefix(s, ".")
}

package ingress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
)

// NewDefaultCertificate makes a certificate that nobody trusts, for hosts that have none.
// ingress-nginx has one, too: without any, clients would see a broken handshake, and not
// that the certificate is missing. It is made once at the start.
func NewDefaultCertificate(now time.Time) (config.PEM, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return config.PEM{}, fmt.Errorf("the default certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return config.PEM{}, fmt.Errorf("the default certificate: %w", err)
	}
	template := x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "holdfast default certificate"},
		DNSNames:     []string{"ingress.invalid"}, // RFC 6761 section 6.4: no host has it
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(10, 0, 0), // nobody looks at it, and a process may run long
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return config.PEM{}, fmt.Errorf("the default certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return config.PEM{}, fmt.Errorf("the default certificate: %w", err)
	}
	return config.PEM{
		Name: "the default certificate",
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}

// secretOf is the certificate of a Secret; nil if there is no good one.
func secretOf(s *cluster.Snapshot, name types.NamespacedName) *config.PEM {
	secret := s.Secret(name.Namespace, name.Name)
	if secret == nil {
		return nil
	}
	p := &config.PEM{Name: "Secret " + name.String(), Cert: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]}
	if _, err := checkCertificate(p); err != nil {
		return nil
	}
	return p
}

// checkCertificate returns the names in a certificate, or why it can't be used.
func checkCertificate(p *config.PEM) (names []string, err error) {
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, err
	}
	for _, name := range pair.Leaf.DNSNames {
		names = append(names, strings.ToLower(name))
	}
	return names, nil
}

// checkAuthorities says why the certificates of authorities can't be used.
func checkAuthorities(p *config.PEM) error {
	if !x509.NewCertPool().AppendCertsFromPEM(p.Cert) {
		return errors.New("there is no certificate in it")
	}
	return nil
}

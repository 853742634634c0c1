package ingress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-ws/holdfast/internal/app"
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
	v := checked.of(p, func() verdict {
		if err := app.CheckPEM(p); err != nil {
			return verdict{err: err}
		}
		pair, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			return verdict{err: err}
		}
		var names []string
		for _, name := range pair.Leaf.DNSNames {
			names = append(names, strings.ToLower(name))
		}
		return verdict{names: names}
	})
	return v.names, v.err
}

// checkAuthorities says why the certificates of authorities can't be used.
func checkAuthorities(p *config.PEM) error {
	return checked.of(p, func() verdict {
		return verdict{err: app.CheckCAPEM(p)}
	}).err
}

// verdict is what a check has found.
type verdict struct {
	names []string
	err   error
}

// checked remembers what checks have found, since reading a key takes a millisecond, and
// every change of a cluster is a Translate.
var checked memory

// maxRemembered bounds a memory.
const maxRemembered = 10_000

type memory struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]verdict // by the name and what is checked
}

func (m *memory) of(p *config.PEM, check func() verdict) verdict {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(p.Name), p.Cert, p.Key} {
		fmt.Fprintf(h, "%d ", len(part))
		h.Write(part)
	}
	key := [sha256.Size]byte(h.Sum(nil))
	m.mu.Lock()
	v, known := m.known[key]
	m.mu.Unlock()
	if known {
		return v
	}
	v = check()
	m.mu.Lock()
	if m.known == nil || len(m.known) >= maxRemembered {
		m.known = map[[sha256.Size]byte]verdict{}
	}
	m.known[key] = v
	m.mu.Unlock()
	return v
}

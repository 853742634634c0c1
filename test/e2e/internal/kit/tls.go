//go:build unix

package kit

import (
	"crypto/tls"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// The files of a server's certificate and key.
const (
	certEnv = "HOLDFAST_E2E_CERT"
	keyEnv  = "HOLDFAST_E2E_KEY"
)

// WithTLS is what a backend or Node server has in its environment to speak TLS.
func WithTLS(p *testca.Pair) []string {
	cert, key := p.Files()
	return []string{certEnv + "=" + cert, keyEnv + "=" + key}
}

func hasTLS(env []string) bool {
	return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, certEnv+"=") })
}

// withTLS is ln with TLS if the environment of this process says so.
func withTLS(ln net.Listener) (net.Listener, error) {
	if !hasTLS(os.Environ()) {
		return ln, nil
	}
	pair, err := tls.LoadX509KeyPair(os.Getenv(certEnv), os.Getenv(keyEnv))
	if err != nil {
		return nil, err
	}
	return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}}), nil
}

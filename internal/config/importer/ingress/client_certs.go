package ingress

import (
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// clientCAs sets by which authority certificates of clients are verified. A listener has
// one; routes say which hosts need one.
func (v *converter) clientCAs(t *config.ListenerTLS, servers []*server) {
	var first *server
	for _, s := range servers {
		cert := s.clientCert
		if cert == nil || !s.tls {
			continue
		}
		a := s.clientBy.annotation("auth-tls-secret")
		if first != nil && first.clientCert.secret != cert.secret {
			s.clientBy.settings.refuse(a, "a listener verifies certificates by one authority, and %s has another one: put the certificates of both into one file, and write match: {client_cert: {issuer: ...}} into the routes", hint.Quote(first.host))
			continue
		}
		if first == nil {
			first = s
			namespace, name, _ := strings.Cut(cert.secret, "/")
			t.ClientCA, t.ClientAuth = v.file(namespace, name)+"-ca.crt", "optional"
			v.r.Differ(a.Place, "Secret "+cert.secret, "listeners[1].tls.client_ca", "holdfast reads the authority from a file: %s", v.howToGet(namespace, name, "ca.crt", t.ClientCA))
		}
		v.clientHeaders(t, cert)
	}
	if first != nil {
		v.r.Differ(first.clientBy.annotation("auth-tls-secret").Place, "ssl-client-verify", "listeners[1].tls.client_headers", "backends get true or false in this field, not SUCCESS or NONE")
	}
}

// noCertificate says why a host can't ask clients for certificates.
func (s *server) noCertificate() string {
	if s.host == "" {
		return "a rule without a host has no certificate here, and clients without TLS need none: add the host, and tls, to the Ingress"
	}
	return fmt.Sprintf("the host %s has no certificate here, and clients without TLS need none: add tls to the Ingress", hint.Quote(s.host))
}

// clientHeaders adds the fields with which pods are told about a client's certificate.
func (v *converter) clientHeaders(t *config.ListenerTLS, cert *clientCert) {
	headers := config.Headers{{"ssl-client-verify", "verified"}, {"ssl-client-subject-dn", "subject"}, {"ssl-client-issuer-dn", "issuer"}}
	if cert.headers {
		headers = append(headers, [2]string{"ssl-client-cert", "pem"})
	}
	if len(headers) > len(t.ClientHeaders) {
		t.ClientHeaders = headers
	}
}

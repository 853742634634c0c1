// Package secure is the stage that makes the TLS handshake with a client. A listener
// with TLS has a Server, whose options come from the configuration. The handshake
// itself is made by package tlsconn; certificates and ticket keys outlive a Server.
//
// There is no early data (0-RTT): it can be replayed (RFC 8446 §8), and neither a
// WebSocket handshake nor a request that a backend gets may be.
package secure

import (
	"crypto/tls"
	"sync/atomic"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
	"github.com/holdfast-ws/holdfast/internal/tls/tickets"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
)

// Options are those of a listener.
type Options struct {
	Certificates *certs.Store
	Tickets      *tickets.Keys
	// MinVersion is tls.VersionTLS12 or tls.VersionTLS13.
	MinVersion uint16
	// RequireClient refuses clients without a certificate, if Certificates has
	// ClientCAs. Otherwise a client may have none.
	RequireClient bool
	// Protocols are offered by ALPN, in the order of preference.
	Protocols []string
	// Challenge is agreed on with clients that offer nothing else; "" is nothing.
	Challenge string
}

// Server makes TLS handshakes. It implements transport.TLSServer.
type Server struct {
	options Options
	current atomic.Pointer[current]
}

// current is what handshakes are made with until the ClientCAs change.
type current struct {
	cas    *certs.ClientCAs
	config *tlsconn.Config
}

// New makes a Server.
func New(o Options) *Server {
	s := &Server{options: o}
	s.config()
	return s
}

// config returns what handshakes are made with now.
func (s *Server) config() *tlsconn.Config {
	cas := s.options.Certificates.ClientCAs()
	if c := s.current.Load(); c != nil && c.cas == cas {
		return c.config
	}
	c := &current{cas: cas, config: s.newConfig(cas)}
	s.current.Store(c) // if two do this at once, both are right
	return c.config
}

func (s *Server) newConfig(cas *certs.ClientCAs) *tlsconn.Config {
	o := &s.options
	base := &tls.Config{GetCertificate: o.Certificates.GetCertificate, MinVersion: o.MinVersion, NextProtos: o.Protocols}
	// A session in a ticket has been verified by these rules.
	rules := []byte("no client certificates")
	if cas != nil {
		base.ClientCAs, base.ClientAuth = cas.Pool, tls.VerifyClientCertIfGiven
		rules = []byte("client certificates are optional ")
		if o.RequireClient {
			base.ClientAuth = tls.RequireAndVerifyClientCert
			rules = []byte("client certificates are required ")
		}
		rules = append(rules, cas.Sum[:]...)
	}
	o.Tickets.SetUp(base, rules)
	return tlsconn.NewServerConfig(base, o.Challenge)
}

// Secure implements transport.TLSServer. The error is a *failure.Error, about which
// Result and ServerName know more.
func (s *Server) Secure(c transport.Conn) (transport.Conn, error) {
	conn, err := tlsconn.Server(c, s.config())
	if err != nil {
		return nil, s.explain(err)
	}
	return conn, nil
}

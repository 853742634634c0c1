package backendtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// maxShown bounds the certificates that are remembered, one for each address.
const maxShown = 4096

// shown has the certificates that backends have shown last, also those that weren't
// accepted.
type shown struct {
	mu   sync.Mutex // guards the following
	last map[hostport.Endpoint]*x509.Certificate
}

func (s *shown) note(addr hostport.Endpoint, cert *x509.Certificate) {
	if cert == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last[addr] == nil && len(s.last) >= maxShown {
		clear(s.last) // of backends that were discovered and have gone; the others soon show theirs
	}
	if s.last == nil {
		s.last = map[hostport.Endpoint]*x509.Certificate{}
	}
	s.last[addr] = cert
}

// Shown returns the certificate that the server at an address has shown in the last
// handshake that got so far, whether or not it was accepted; nil if there was none.
func (c *Client) Shown(addr hostport.Endpoint) *x509.Certificate {
	c.shown.mu.Lock()
	defer c.shown.mu.Unlock()
	return c.shown.last[addr]
}

// rejectedCert is the certificate for which a handshake failed; nil if it was something
// else.
func rejectedCert(err error) *x509.Certificate {
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) && len(untrusted.UnverifiedCertificates) > 0 {
		return untrusted.UnverifiedCertificates[0]
	}
	return nil
}

// endpointOf is the address of conn's other end.
func endpointOf(conn net.Conn) hostport.Endpoint {
	switch a := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		addr := a.AddrPort()
		return hostport.At(netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))
	case *net.UnixAddr:
		return hostport.Endpoint{Path: a.Name}
	}
	return hostport.Endpoint{}
}

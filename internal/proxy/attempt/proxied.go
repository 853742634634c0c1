package attempt

import (
	"crypto/tls"
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

// AppendProxyHeader appends the header of the PROXY protocol that a backend of the pool
// gets first on its connection, if the pool has that. client is who has connected by m,
// through trusted proxies.
func AppendProxyHeader(dst []byte, p *generation.Pool, m *transport.Meta, client netip.AddrPort) []byte {
	if p.ProxyProtocol == proxyproto.Off {
		return dst
	}
	about := proxyproto.Client{Source: known(client), Destination: known(m.Local)}
	if p.ProxyProtocol == proxyproto.V2 {
		about.TLS = ClientTLS(m)
	}
	return proxyproto.Append(dst, p.ProxyProtocol, &about)
}

// known is a, or the zero AddrPort if a isn't an address of IP.
func known(a netip.AddrPort) netip.AddrPort {
	if a == hostport.UnixPeer {
		return netip.AddrPort{}
	}
	return a
}

// ClientTLS is what a header says of a client's TLS: that with the proxy in front, if
// that proxy has said so, otherwise that with the balancer. It is nil without TLS.
func ClientTLS(m *transport.Meta) *proxyproto.TLS {
	if m.Front != nil && m.Front.TLS != nil {
		return m.Front.TLS
	}
	t := m.TLS
	if t == nil {
		return nil
	}
	about := &proxyproto.TLS{
		Version: "TLSv" + t.VersionWord(), Cipher: cipherName(t.Suite),
		ServerName: t.ServerName, Protocol: t.Protocol, Resumed: t.Resumed,
	}
	if t.Certificate != nil {
		about.Certificate, about.CommonName = true, t.Certificate.Subject.CommonName
	}
	return about
}

// cipherName is the name of a suite as OpenSSL writes it, which other proxies send. For
// TLS 1.3 that is the standard's.
func cipherName(suite uint16) string {
	switch suite {
	case tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:
		return "ECDHE-ECDSA-AES128-GCM-SHA256"
	case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:
		return "ECDHE-RSA-AES128-GCM-SHA256"
	case tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:
		return "ECDHE-ECDSA-AES256-GCM-SHA384"
	case tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:
		return "ECDHE-RSA-AES256-GCM-SHA384"
	case tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return "ECDHE-ECDSA-CHACHA20-POLY1305"
	case tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:
		return "ECDHE-RSA-CHACHA20-POLY1305"
	}
	return tls.CipherSuiteName(suite)
}

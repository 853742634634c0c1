// Package introduce is the stage in which a proxy in front of the balancer says who its
// client is, by the PROXY protocol. A listener with proxy_protocol has Proxies, whose
// options come from the configuration. The header comes before TLS.
//
// Nothing is guessed: every connection to such a listener must begin with a header, and
// must come from a proxy that is trusted. Otherwise a stranger could claim any address,
// or a proxy that forgets its header would seem to be the client.
package introduce

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

// Proxies are the proxies in front of a listener. It implements transport.ProxyServer
// and is immutable.
type Proxies struct {
	Listener string // its name, for errors
	Trust    []netip.Prefix
	Unix     bool // trust those that come by a unix socket
}

// Trusts implements transport.ProxyServer.
func (p *Proxies) Trusts(peer netip.AddrPort) bool {
	list := forwarded.Policy{Trust: p.Trust, TrustUnix: p.Unix}
	return list.TrustsPeer(peer)
}

// Introduce implements transport.ProxyServer. It never reads more than
// proxyproto.MaxSize bytes. Errors are *failure.Error.
func (p *Proxies) Introduce(c transport.Conn, buf []byte) error {
	m := c.Meta()
	if !p.Trusts(m.Peer) {
		return failure.New(failure.ProxyStranger, fmt.Sprintf("%s is not in proxy_protocol.trust of the listener %q, which only takes connections from proxies", m.Peer.Addr(), p.Listener))
	}
	var header proxyproto.Header
	buf = buf[:min(len(buf), proxyproto.MaxSize)]
	size, have, err := read(c, buf, &header)
	if err != nil {
		return p.failed(err, have)
	}
	m.Front = &transport.Front{Proxy: m.Peer, TLS: tlsOf(&header)}
	if header.Source.IsValid() {
		m.Peer, m.Local = header.Source, header.Destination
	}
	var unread []byte
	if have > size {
		unread = append(unread, buf[size:have]...)
	}
	if err := transport.Introduce(c, m, unread); err != nil {
		return failure.Wrap(failure.Internal, err)
	}
	return nil
}

// malformed is an error of proxyproto.
type malformed struct{ error }

// read reads until the header is complete. have is how many bytes were read.
func read(c transport.Conn, buf []byte, h *proxyproto.Header) (size, have int, err error) {
	for {
		n, err := c.Read(buf[have:])
		if have += n; n == 0 {
			return 0, have, err
		}
		if size, err = proxyproto.Parse(buf[:have], h); err != nil {
			return 0, have, malformed{err}
		}
		if size > 0 {
			return size, have, nil
		}
	}
}

func (p *Proxies) failed(err error, have int) error {
	why := ""
	switch {
	case errors.As(err, new(malformed)):
		why = err.Error()
	case have == 0:
		return failure.Wrap(failure.NothingAsked, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		why = "its PROXY protocol header is not complete in time (timeouts.handshake)"
	default:
		return failure.Wrap(failure.ClientGone, err)
	}
	return failure.New(failure.ProxyHeader, fmt.Sprintf("a proxy in front of the listener %q, which has proxy_protocol, is refused: %s", p.Listener, why))
}

// tlsOf is what the header says of the client's TLS; nil if it spoke none.
func tlsOf(h *proxyproto.Header) *proxyproto.TLS {
	if !h.TLS {
		return nil
	}
	return &proxyproto.TLS{
		Version: string(h.TLSVersion), Cipher: string(h.Cipher), ServerName: string(h.ServerName), Protocol: string(h.Protocol),
		Certificate: h.Certificate, CommonName: string(h.CommonName),
	}
}

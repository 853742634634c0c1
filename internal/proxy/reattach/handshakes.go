package reattach

import (
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/proxy/attempt"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
	"github.com/holdfast-ws/holdfast/internal/stage/handshake"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

// maxHead bounds the head of a handshake that is kept, in bytes. A session whose
// head is larger can't be given another backend.
const maxHead = 8 << 10

// savedHandshake is what the handshake with another backend needs of a session's
// first one. It is immutable. It is all that a session of a pool with reattach
// costs beyond others.
type savedHandshake struct {
	head     []byte // as it came from the client
	pool     string
	protocol string // the subprotocol; "" means none
	// listed means that backends didn't get all subprotocols that the client
	// offers, but only those that its route lists. Then another backend gets
	// the one that was agreed on.
	listed      bool
	deflate     handshake.Deflate
	peer, local netip.AddrPort // with more, the transport.Meta of the client's connection
	more        *savedMeta     // nil without TLS, unless more is needed
	// forward is what the route changed when the session began. It applies again if
	// the route is gone.
	forward *generation.Forward
	grant   *auth.Grant // attempt.Request.Grant
}

// savedMeta is more about a client's connection. A parsed certificate would take
// several KiB.
type savedMeta struct {
	listener    *transport.ListenerSpec // nil if it isn't needed
	tls         bool
	version     uint16
	serverName  string // "" if it isn't needed
	certificate []byte // DER; nil if there was none, or it isn't needed
	// proxied is what a backend learns about the client's TLS by the PROXY protocol, also
	// if that TLS ended at a proxy in front; nil if that isn't needed.
	proxied *proxyproto.TLS
}

// justTLS is for all clients with TLS of which nothing more is needed.
var justTLS = &savedMeta{tls: true}

// saveMeta saves what the backends of pool are told about the connection by p and f.
func saveMeta(m *transport.Meta, p *clientcert.Policy, f *generation.Forward, pool *generation.Pool) *savedMeta {
	proxied := proxiedTLS(m, pool)
	certificate := m.TLS != nil && p.Has(m.ListenerName())
	variables := f.Uses(headeredit.Listener) || m.TLS != nil && (f.Uses(headeredit.SNI) || f.Uses(headeredit.TLSVersion))
	switch {
	case certificate || variables || proxied != nil:
	case m.TLS == nil:
		return nil
	default:
		return justTLS
	}
	saved := &savedMeta{proxied: proxied}
	if certificate || variables {
		saved.listener = m.Listener
	}
	if m.TLS == nil {
		return saved
	}
	saved.tls, saved.version = true, m.TLS.Version
	if f.Uses(headeredit.SNI) {
		saved.serverName = strings.Clone(m.TLS.ServerName)
	}
	if cert := m.ClientCertificate(); cert != nil && certificate {
		saved.certificate = slices.Clone(cert.Raw)
	}
	return saved
}

func (h *savedHandshake) meta() (m transport.Meta, err error) {
	m = transport.Meta{Peer: h.peer, Local: h.local}
	if more := h.more; more != nil {
		m.Listener = more.listener
		if more.tls {
			m.TLS = &transport.TLS{Version: more.version, ServerName: more.serverName}
		}
		if more.certificate != nil {
			m.TLS.Certificate, err = x509.ParseCertificate(more.certificate)
		}
		if more.proxied != nil {
			m.Front = &transport.Front{Proxy: h.peer, TLS: more.proxied}
		}
	}
	return m, err
}

// proxiedTLS is savedMeta.proxied for a client. After a reload, another pool may want
// it that had no use for it; then only what is in savedMeta is known.
func proxiedTLS(m *transport.Meta, p *generation.Pool) *proxyproto.TLS {
	if p.ProxyProtocol != proxyproto.V2 && (m.Front == nil || m.Front.TLS == nil) {
		return nil
	}
	return attempt.ClientTLS(m)
}

// agreed is what the first backend agreed with the client.
func (h *savedHandshake) agreed() handshake.Agreed {
	return handshake.Agreed{Protocol: []byte(h.protocol), Deflate: h.deflate}
}

// savedHandshakes has those of live sessions. It isn't part of a generation,
// as sessions aren't. IDs are random, so any byte of one spreads them evenly.
// The shards keep the time short for which a loop may wait for another one.
type savedHandshakes struct {
	shards [64]struct {
		mu      sync.Mutex // guards the following
		saved   map[session.ID]*savedHandshake
		largest int // number of entries that the map has had room for
	}
}

func (t *savedHandshakes) put(id session.ID, h *savedHandshake) {
	s := &t.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saved == nil {
		s.saved = make(map[session.ID]*savedHandshake)
	}
	s.saved[id] = h
	s.largest = max(s.largest, len(s.saved))
}

// find returns nil for a session whose handshake isn't saved.
func (t *savedHandshakes) find(id session.ID) *savedHandshake {
	s := &t.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved[id]
}

func (t *savedHandshakes) remove(id session.ID) {
	s := &t.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.saved, id)
	// A map never releases memory by itself.
	if s.largest > 64 && len(s.saved) < s.largest/4 {
		smaller := make(map[session.ID]*savedHandshake, len(s.saved))
		for id, h := range s.saved {
			smaller[id] = h
		}
		s.saved, s.largest = smaller, len(smaller)
	}
}

func (t *savedHandshakes) len() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.saved)
		s.mu.Unlock()
	}
	return n
}

package tlsconn

import (
	"crypto/tls"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/wire/clienthello"
)

// Config is a tls.Config that handshakes are made with. It may be used
// concurrently.
type Config struct {
	base *tls.Config
	// challenge is a protocol of ALPN that is agreed on with clients that offer nothing
	// else, whatever NextProtos of base has; "" is none.
	challenge string
	pool      sync.Pool // of *handshake
}

// suites12 are those of TLS 1.2 that package tlsrec knows. The order is that of
// crypto/tls.
var suites12 = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// NewConfig prepares base, which must not be changed after that. It must not have
// GetConfigForClient: the secrets of the handshake come by KeyLogWriter, which a
// Config sets itself.
//
// No version before TLS 1.2 is used, and in TLS 1.2 only suites that package tlsrec
// knows, unless CipherSuites of base has others. Tickets of a server are encrypted by
// WrapSession and UnwrapSession of base. If these are nil, the ticket keys are those
// of base, and belong to the Config.
func NewConfig(base *tls.Config) *Config {
	if base.GetConfigForClient != nil {
		panic("tlsconn: GetConfigForClient can't be used")
	}
	base = base.Clone()
	base.MinVersion = max(base.MinVersion, tls.VersionTLS12)
	if base.CipherSuites == nil {
		base.CipherSuites = suites12
	}
	if base.WrapSession == nil {
		base.WrapSession = base.EncryptTicket
	}
	if base.UnwrapSession == nil {
		base.UnwrapSession = base.DecryptTicket
	}
	return &Config{base: base}
}

// NewServerConfig is NewConfig for a server that offers no protocols by ALPN, or not these
// alone, and still agrees on challenge with a client that offers only that: base can't say
// so, since crypto/tls refuses all clients that offer none of NextProtos.
func NewServerConfig(base *tls.Config, challenge string) *Config {
	c := NewConfig(base)
	c.challenge = challenge
	return c
}

// isChallenge reports whether a client asks for the protocol of a challenge, by its
// ClientHello.
func (c *Config) isChallenge(raw []byte) bool {
	if c.challenge == "" {
		return false
	}
	hello, err := clienthello.Parse(raw)
	if err != nil {
		return false // crypto/tls says what is wrong with it
	}
	protocols := 0
	for range hello.Protocols() {
		protocols++
	}
	return protocols == 1 && hello.Offers(c.challenge)
}

// take returns a handshake that nobody else uses.
func (c *Config) take() *handshake {
	if h, _ := c.pool.Get().(*handshake); h != nil {
		return h
	}
	// Each has a tls.Config of its own, with itself as the KeyLogWriter, so that no
	// connection needs a copy.
	h := &handshake{of: c, config: c.base.Clone()}
	h.config.KeyLogWriter = h
	h.config.WrapSession, h.config.UnwrapSession = h.wrapSession, h.unwrapSession
	if c.base.ClientSessionCache != nil {
		h.config.ClientSessionCache = h
	}
	return h
}

// giveBack ends the use of h.
func (h *handshake) giveBack() {
	h.wire.end().free()
	h.wire = wire{}
	h.config.NextProtos = h.of.base.NextProtos
	h.tls, h.addr = nil, ""
	h.clientTraffic, h.serverTraffic, h.master = secret{}, secret{}, secret{}
	h.of.pool.Put(h)
}

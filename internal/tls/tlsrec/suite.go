package tlsrec

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	ivSize     = 12
	maxKeySize = 32
	tagSize    = 16
)

// suite is what the record layer must know of a cipher suite.
type suite struct {
	id      uint16
	tls13   bool
	keySize int
	// ivSize is how much of the IV comes from the handshake.
	ivSize int
	// explicit is the length of the part of the nonce that is sent in each record.
	explicit int
	hash     hash
	chacha   bool
}

// suites are those of TLS 1.3, and those of TLS 1.2 with forward secrecy and an
// AEAD. A State has an index into them; the first is for the zero State.
var suites = [...]suite{
	{},
	{id: tls.TLS_AES_128_GCM_SHA256, tls13: true, keySize: 16, ivSize: 12, hash: sha256},
	{id: tls.TLS_AES_256_GCM_SHA384, tls13: true, keySize: 32, ivSize: 12, hash: sha384},
	{id: tls.TLS_CHACHA20_POLY1305_SHA256, tls13: true, keySize: 32, ivSize: 12, hash: sha256, chacha: true},

	{id: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, keySize: 16, ivSize: 4, explicit: 8, hash: sha256},
	{id: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, keySize: 16, ivSize: 4, explicit: 8, hash: sha256},
	{id: tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, keySize: 32, ivSize: 4, explicit: 8, hash: sha384},
	{id: tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, keySize: 32, ivSize: 4, explicit: 8, hash: sha384},
	{id: tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, keySize: 32, ivSize: 12, hash: sha256, chacha: true},
	{id: tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, keySize: 32, ivSize: 12, hash: sha256, chacha: true},
}

// suiteIndex returns the index of a suite, or 0 if there is no such suite in that
// version.
func suiteIndex(version, id uint16) uint8 {
	for i := range suites {
		s := &suites[i]
		if i > 0 && s.id == id && (version == tls.VersionTLS13 && s.tls13 || version == tls.VersionTLS12 && !s.tls13) {
			return uint8(i)
		}
	}
	return 0
}

// keys derives key and IV from a secret of a State, without allocating. In TLS 1.2
// they are the secret.
func (s *suite) keys(secret *secret, key *[maxKeySize]byte, iv *[ivSize]byte) {
	if !s.tls13 {
		copy(key[:], secret[:maxKeySize])
		copy(iv[:], secret[maxKeySize:])
		return
	}
	// RFC 8446 §7.3.
	expandLabel(s.hash, secret, "key", key[:s.keySize])
	expandLabel(s.hash, secret, "iv", iv[:])
}

// aead makes the cipher of a key.
func (s *suite) aead(key []byte) (cipher.AEAD, error) {
	if s.chacha {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// usable has an error for each of the suites whose cipher can't be made. There is one
// with GODEBUG=fips140=only, which allows AES-GCM only to crypto/tls.
var usable = sync.OnceValue(func() (errs [len(suites)]error) {
	for i := range suites {
		if i > 0 {
			_, errs[i] = suites[i].aead(make([]byte, suites[i].keySize))
		}
	}
	return errs
})

// overhead is by how much a sealed record is longer than its plaintext and header.
func (s *suite) overhead() int {
	if s.tls13 {
		return 1 + tagSize
	}
	return s.explicit + tagSize
}

// maxPayload is the longest payload of a record: RFC 8446 §5.2, RFC 5246 §6.2.3.
func (s *suite) maxPayload() int {
	if s.tls13 {
		return MaxPlaintext + 256
	}
	return MaxPlaintext + 2048
}

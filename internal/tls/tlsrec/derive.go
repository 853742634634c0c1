package tlsrec

import (
	cryptosha256 "crypto/sha256"
	cryptosha512 "crypto/sha512"
)

// hash is the hash function of a cipher suite.
type hash uint8

const (
	sha256 hash = iota
	sha384
)

func (h hash) size() int {
	if h == sha384 {
		return cryptosha512.Size384
	}
	return cryptosha256.Size
}

// secret has room for the longest secret: a traffic secret of TLS 1.3, with 32 or 48
// bytes; in TLS 1.2 the key (32) and the IV (12). The rest is zero.
type secret [48]byte

const (
	// maxBlock is the block size of SHA-384; that of SHA-256 is 64.
	maxBlock = cryptosha512.BlockSize
	// maxMessage is enough for what is hashed here: in the PRF 48 + 13 + 64.
	maxMessage = 128
)

// hmac is HMAC (RFC 2104) for short keys and messages, on the stack. crypto/hmac and
// crypto/hkdf allocate some twenty objects for each key, and keys are derived
// whenever a connection has been silent for a while.
func hmac(h hash, key, message []byte) (mac secret) {
	block := cryptosha256.BlockSize
	if h == sha384 {
		block = cryptosha512.BlockSize
	}
	var inner [maxBlock + maxMessage]byte
	var outer [maxBlock + len(mac)]byte
	copy(inner[:block], key)
	copy(outer[:block], key)
	for i := range block {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	n := copy(inner[block:], message)
	if n < len(message) || len(key) > block {
		panic("tlsrec: too long for this HMAC")
	}
	if h == sha384 {
		sum := cryptosha512.Sum384(inner[:block+n])
		n = copy(outer[block:], sum[:])
		sum = cryptosha512.Sum384(outer[:block+n])
		copy(mac[:], sum[:])
		return mac
	}
	sum := cryptosha256.Sum256(inner[:block+n])
	n = copy(outer[block:], sum[:])
	sum = cryptosha256.Sum256(outer[:block+n])
	copy(mac[:], sum[:])
	return mac
}

// expandLabel is HKDF-Expand-Label of RFC 8446 §7.1 with an empty context. What is
// wanted is never longer than the hash, so that one round of HKDF-Expand is enough.
func expandLabel(h hash, s *secret, label string, to []byte) {
	var info [32]byte
	b := append(info[:0], byte(len(to)>>8), byte(len(to)), byte(len("tls13 ")+len(label)))
	b = append(b, "tls13 "...)
	b = append(b, label...)
	b = append(b, 0, 1) // no context; the first round
	mac := hmac(h, s[:h.size()], b)
	copy(to, mac[:h.size()])
}

// nextSecret is the traffic secret after a KeyUpdate, RFC 8446 §7.2.
func nextSecret(h hash, s *secret) (next secret) {
	expandLabel(h, s, "traffic upd", next[:h.size()])
	return next
}

// expandKeys fills to with the key block of TLS 1.2: RFC 5246 §5 and §6.3.
func expandKeys(h hash, master, clientRandom, serverRandom, to []byte) {
	var seed, message [maxMessage]byte
	b := append(seed[:0], "key expansion"...)
	b = append(append(b, serverRandom...), clientRandom...)
	a := hmac(h, master, b)
	for len(to) > 0 {
		m := append(append(message[:0], a[:h.size()]...), b...)
		mac := hmac(h, master, m)
		to = to[copy(to, mac[:h.size()]):]
		a = hmac(h, master, a[:h.size()])
	}
}

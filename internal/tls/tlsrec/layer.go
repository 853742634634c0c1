package tlsrec

// Layer opens and seals the records of any number of connections. It keeps the
// ciphers of those that were used last. It must not be used concurrently.
type Layer struct {
	cache cache
	// updateAfter is after how many records with one key Seal changes it.
	updateAfter uint64

	// What the ciphers get by pointer is here, because it would escape to the
	// heap with each record if it was on the stack.
	nonce      [ivSize]byte
	additional [13]byte
}

// NewLayer makes a Layer that keeps at most so many ciphers, one for each
// direction of a connection. It keeps at least one and at most 65,536.
func NewLayer(ciphers int) *Layer {
	return &Layer{
		cache: cache{limit: min(max(ciphers, 1), 1<<16)},
		// RFC 8446 §5.5 allows 2^24.5 full records with AES-GCM.
		updateAfter: 1 << 24,
	}
}

// Trim drops all ciphers that are kept. They are made again when they are needed.
func (l *Layer) Trim() { l.cache.trim() }

// Forget drops the ciphers of s, which this Layer won't be given again: it frees
// their memory before others need their place. s itself stays valid, so that
// another Layer can go on with it.
func (l *Layer) Forget(s *State) {
	l.cache.drop(s, in)
	l.cache.drop(s, out)
}

// setNonce makes the nonce of the record with this sequence number: RFC 8446 §5.3,
// RFC 7905 §2. With AES-GCM in TLS 1.2 the second part of the IV is zero, so that
// the sequence number itself is the explicit part, which RFC 5288 §3 allows.
func (l *Layer) setNonce(iv *[ivSize]byte, seq uint64) {
	l.nonce = *iv
	for i := range 8 {
		l.nonce[ivSize-1-i] ^= byte(seq >> (8 * i))
	}
}

// setAdditional makes the additional data of a record: the header in TLS 1.3 (RFC
// 8446 §5.2); in TLS 1.2 the sequence number, and the header with the length of the
// plaintext (RFC 5246 §6.2.3.3).
func (l *Layer) setAdditional(suite *suite, seq uint64, header []byte, plain int) []byte {
	if suite.tls13 {
		return append(l.additional[:0], header[:HeaderSize]...)
	}
	for i := range 8 {
		l.additional[7-i] = byte(seq >> (8 * i))
	}
	l.additional[8], l.additional[9], l.additional[10] = header[0], header[1], header[2]
	l.additional[11], l.additional[12] = byte(plain>>8), byte(plain)
	return l.additional[:13]
}

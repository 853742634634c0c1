package tlsrec

import "slices"

// Seal appends p to dst as records, and returns the longer slice. p must not overlap
// dst. Before the limit of a cipher is reached it sends a KeyUpdate (RFC 8446 §5.5).
// An empty p appends nothing, unless the peer has asked for a KeyUpdate. After
// SealAlert it appends nothing.
func (l *Layer) Seal(s *State, dst, p []byte) []byte {
	if s.suite == 0 || s.flags&flagMute != 0 {
		return dst
	}
	records := (len(p) + MaxPlaintext - 1) / MaxPlaintext
	dst = slices.Grow(dst, len(p)+records*MaxOverhead)
	if len(p) > 0 {
		s.quiet = 0
	}
	for {
		tls13 := s.suiteInfo().tls13
		if tls13 && (s.flags&flagOwes != 0 || len(p) > 0 && s.seq[out] >= l.updateAfter) {
			dst = l.sealKeyUpdate(s, dst)
		}
		if len(p) == 0 {
			return dst
		}
		n := min(len(p), MaxPlaintext)
		dst = l.sealRecord(s, dst, typeData, p[:n])
		p = p[n:]
	}
}

// SealAlert appends an alert, unless there was one already. close_notify is sent as a
// warning, and no_renegotiation and user_canceled too; any other is fatal. After it
// Seal and SealAlert append nothing. Open still works after a close_notify of ours.
func (l *Layer) SealAlert(s *State, dst []byte, description uint8) []byte {
	if s.suite == 0 || s.flags&flagMute != 0 {
		return dst
	}
	level := byte(levelFatal)
	switch description {
	case AlertCloseNotify, AlertUserCanceled, AlertNoRenegotiation:
		level = levelWarning
	}
	content := [...]byte{level, description}
	dst = l.sealRecord(s, dst, typeAlert, content[:])
	s.flags |= flagMute
	return dst
}

// Mute makes Seal and SealAlert append nothing from now on. It is for a peer that has not
// got all that was sealed for it: a close_notify would say that nothing is missing (RFC
// 8446 §6.1).
func (s *State) Mute() { s.flags |= flagMute }

// sealKeyUpdate appends a KeyUpdate and goes on to the next key. It doesn't ask the
// peer for its own.
func (l *Layer) sealKeyUpdate(s *State, dst []byte) []byte {
	content := [...]byte{messageKeyUpdate, 0, 0, 1, 0}
	dst = l.sealRecord(s, dst, typeHandshake, content[:])
	s.flags &^= flagOwes
	l.update(s, out)
	return dst
}

// sealRecord appends one record.
func (l *Layer) sealRecord(s *State, dst []byte, kind uint8, content []byte) []byte {
	suite := s.suiteInfo()
	seq := s.seq[out]
	e := l.cache.get(s, out)
	l.setNonce(&e.iv, seq)

	dst = slices.Grow(dst, len(content)+MaxOverhead)
	start := len(dst)
	size := len(content) + suite.overhead()
	outer := kind
	if suite.tls13 {
		outer = typeData
	}
	dst = append(dst, outer, wireVersion>>8, wireVersion&0xff, byte(size>>8), byte(size))
	dst = append(dst, l.nonce[ivSize-suite.explicit:]...)
	from := len(dst)
	dst = append(dst, content...)
	if suite.tls13 {
		dst = append(dst, kind)
	}
	sealed := e.aead.Seal(dst[from:from], l.nonce[:], dst[from:], l.setAdditional(suite, seq, dst[start:], len(content)))
	s.seq[out]++
	return dst[:from+len(sealed)]
}

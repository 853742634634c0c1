package frame

import "encoding/binary"

// MaxPong is the length of the longest pong that answers AppendPing.
const MaxPong = 2 + 4 + PingSize

// PongSize is the length of the pong that answers AppendPing, from a client
// (masked) or a server.
func PongSize(masked bool) int {
	if masked {
		return MaxPong
	}
	return MaxPong - 4
}

// Match is what HoldPong says of the first bytes of a frame.
type Match uint8

const (
	Undecided Match = iota // so far it could be; more bytes will tell
	Same                   // all of it is the pong for nonce
	Different              // it is another frame
)

// HoldPong compares p, which begins where Walk stopped AtPong, with the pong
// that answers AppendPing's nonce. The n bytes that agree are held back instead
// of walked:
//
//	Undecided: all of p. HoldPong wants what comes next, and the same nonce.
//	Same:      the pong is whole and forgotten, p[n:] comes after it.
//	Different: ReleasePong gives back what is held, to be walked before p[n:].
//
// Meanwhile the stream stands between two frames, before the pong. What is held
// takes no room but for a count and the masking key: every other byte is known,
// since it agreed.
func (w *Walker) HoldPong(p []byte, nonce uint64) (n int, m Match) {
	want, size := w.pong(nonce)
	for _, b := range p {
		switch i := int(w.held); {
		case w.Masked && i >= 2 && i < 6:
			w.key[i-2] = b
			if i == 5 {
				want, _ = w.pong(nonce)
			}
		case b != want[i]:
			return n, Different
		}
		n++
		if w.held++; int(w.held) == size {
			w.held = 0
			return n, Same
		}
	}
	return n, Undecided
}

// Held is how many bytes HoldPong holds back.
func (w *Walker) Held() int { return int(w.held) }

// ReleasePong appends to dst the bytes that are held back, of a pong that was
// compared with that for nonce, and holds them no longer.
func (w *Walker) ReleasePong(dst []byte, nonce uint64) []byte {
	pong, _ := w.pong(nonce)
	dst = append(dst, pong[:w.held]...)
	w.held = 0
	return dst
}

// pong is the one that answers AppendPing's nonce, as far as key is known.
func (w *Walker) pong(nonce uint64) (b [MaxPong]byte, size int) {
	size = PongSize(w.Masked)
	b[0], b[1] = finBit|OpPong, PingSize
	if w.Masked {
		b[1] |= maskBit
		copy(b[2:], w.key[:])
		key := uint64(binary.BigEndian.Uint32(w.key[:]))
		nonce ^= key<<32 | key
	}
	binary.BigEndian.PutUint64(b[size-PingSize:], nonce)
	return b, size
}

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

// Match is the result of comparing the first bytes of a frame with a pong.
type Match uint8

const (
	Undecided Match = iota // more bytes are needed
	Same                   // it is the expected pong
	Different              // it is another frame
)

// HoldPong compares p, which begins where Walk stopped AtPong, with the pong that
// answers AppendPing's nonce. It holds back the n bytes that are equal, instead of
// walking them:
//
//	Undecided: all of p. Call HoldPong with the next bytes and the same nonce.
//	Same:      the pong is complete and dropped, p[n:] comes after it.
//	Different: ReleasePong returns what is held, to be walked before p[n:].
//
// Meanwhile the stream is between two frames, before the pong. Held bytes need no room
// except a count and the masking key: since they are equal, the others are known.
func (w *Walker) HoldPong(p []byte, nonce uint64) (n int, m Match) {
	want, size := w.pong(nonce)
	for _, b := range p {
		switch i := int(w.heldBytes); {
		case w.Masked && i >= 2 && i < 6:
			w.key[i-2] = b
			if i == 5 {
				want, _ = w.pong(nonce)
			}
		case b != want[i]:
			return n, Different
		}
		n++
		if w.heldBytes++; int(w.heldBytes) == size {
			w.heldBytes = 0
			return n, Same
		}
	}
	return n, Undecided
}

// Held is how many bytes HoldPong holds.
func (w *Walker) Held() int { return int(w.heldBytes) }

// ReleasePong appends to dst the held bytes of a pong that was compared with that for
// nonce, and no longer holds them.
func (w *Walker) ReleasePong(dst []byte, nonce uint64) []byte {
	pong, _ := w.pong(nonce)
	dst = append(dst, pong[:w.heldBytes]...)
	w.heldBytes = 0
	return dst
}

// pong is the pong that answers AppendPing's nonce, as far as the key is known.
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

// HoldPongText is HoldPong for the pong that answers AppendPingText, from a server. It
// may continue after HoldPong was Undecided with 1 byte held.
func (w *Walker) HoldPongText(p []byte, text string) (n int, m Match) {
	for _, b := range p {
		switch i := int(w.heldBytes); {
		case i == 0 && b != finBit|OpPong, i == 1 && int(b) != len(text), i >= 2 && b != text[i-2]:
			return n, Different
		}
		n++
		if w.heldBytes++; int(w.heldBytes) == 2+len(text) {
			w.heldBytes = 0
			return n, Same
		}
	}
	return n, Undecided
}

// ReleasePongText is ReleasePong for a pong that was compared with text.
func (w *Walker) ReleasePongText(dst []byte, text string) []byte {
	pong := append([]byte{finBit | OpPong, byte(len(text))}, text...)
	dst = append(dst, pong[:w.heldBytes]...)
	w.heldBytes = 0
	return dst
}

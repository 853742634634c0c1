package wsconn

import (
	"encoding/binary"
	"math/bits"
)

// mask XORs p with key (RFC 6455 §5.3). at is the offset of p in the payload.
func mask(p []byte, key [4]byte, at int) {
	k := bits.RotateLeft32(binary.LittleEndian.Uint32(key[:]), -8*(at&3))
	wide := uint64(k)<<32 | uint64(k)
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^wide)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= byte(k >> (8 * (i & 3)))
	}
}

package frame

import (
	"encoding/binary"
	"math/rand/v2"
	"unicode/utf8"
)

// AppendClose appends a Close frame (RFC 6455 §5.5.1) with code and reason. The reason
// is cut to the 123 bytes that fit. Code 0 makes a frame with neither. masked is for
// frames to a server.
func AppendClose(dst []byte, masked bool, code uint16, reason string) []byte {
	if code == 0 {
		dst, _ = appendHead(dst, OpClose, masked, 0)
		return dst
	}
	if len(reason) > MaxControlPayload-2 {
		n := MaxControlPayload - 2
		for n > 0 && !utf8.RuneStart(reason[n]) {
			n-- // the reason is UTF-8, §5.5.1
		}
		reason = reason[:n]
	}
	dst, at := appendHead(dst, OpClose, masked, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, code)
	dst = append(dst, reason...)
	maskFrom(dst, at, masked)
	return dst
}

// PingSize is the payload length of the balancer's own pings and their pongs.
const PingSize = 8

// AppendPing appends a ping that carries nonce.
func AppendPing(dst []byte, masked bool, nonce uint64) []byte {
	dst, at := appendHead(dst, OpPing, masked, PingSize)
	dst = binary.BigEndian.AppendUint64(dst, nonce)
	maskFrom(dst, at, masked)
	return dst
}

// AppendPingText appends a ping that carries text, at most MaxControlPayload bytes.
func AppendPingText(dst []byte, masked bool, text string) []byte {
	dst, at := appendHead(dst, OpPing, masked, len(text))
	dst = append(dst, text...)
	maskFrom(dst, at, masked)
	return dst
}

func appendHead(dst []byte, op byte, masked bool, size int) ([]byte, int) {
	dst = append(dst, finBit|op, byte(size))
	if masked {
		dst[len(dst)-1] |= maskBit
		dst = binary.BigEndian.AppendUint32(dst, rand.Uint32())
	}
	return dst, len(dst)
}

// maskFrom masks the payload that begins at dst[at:] with the key before it.
func maskFrom(dst []byte, at int, masked bool) {
	if !masked {
		return
	}
	key := [4]byte(dst[at-4 : at])
	for i := range dst[at:] {
		dst[at+i] ^= key[i&3]
	}
}

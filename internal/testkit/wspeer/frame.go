package wspeer

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Opcodes, RFC 6455 §5.2.
const (
	Continuation = 0
	Text         = 1
	Binary       = 2
	Close        = 8
	Ping         = 9
	Pong         = 10
)

// Frame is a WebSocket frame. The payload is unmasked.
type Frame struct {
	Fin     bool
	Op      byte
	Payload []byte
}

// maxFrame bounds the payload of a frame that is read, in bytes. A longer one
// is taken for a mistake of the peer.
const maxFrame = 32 << 20

// ReadFrame reads a frame and reports whether it was masked. The error is
// io.EOF only if the stream ends before the frame.
func ReadFrame(r io.Reader) (f Frame, masked bool, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return f, false, err
	}
	f.Fin, f.Op = head[0]&0x80 != 0, head[0]&0x0f
	masked = head[1]&0x80 != 0
	if head[0]&0x70 != 0 {
		return f, masked, fmt.Errorf("reserved bits are set in the frame head %x", head[:2])
	}
	n := uint64(head[1] & 0x7f)
	switch n {
	case 126:
		_, err = io.ReadFull(r, head[:2])
		n = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		_, err = io.ReadFull(r, head[:8])
		n = binary.BigEndian.Uint64(head[:])
	}
	var key [4]byte
	if err == nil && masked {
		_, err = io.ReadFull(r, key[:])
	}
	if err != nil {
		return f, masked, noEOF(err)
	}
	if n > maxFrame {
		return f, masked, fmt.Errorf("frame of %d bytes", n)
	}
	f.Payload = make([]byte, n)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		return f, masked, noEOF(err)
	}
	if masked {
		mask(f.Payload, key)
	}
	return f, masked, nil
}

// noEOF distinguishes the end of a stream inside a frame from one between
// frames.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// AppendFrame appends the bytes of f to b, masked with a random key or not.
func AppendFrame(b []byte, f Frame, masked bool) []byte {
	b = slices.Grow(b, 14+len(f.Payload))
	head := len(b)
	b = append(b, f.Op, 0)
	if f.Fin {
		b[head] |= 0x80
	}
	switch n := len(f.Payload); {
	case n < 126:
		b[head+1] = byte(n)
	case n < 1<<16:
		b[head+1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[head+1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if !masked {
		return append(b, f.Payload...)
	}
	b[head+1] |= 0x80
	var key [4]byte
	rand.Read(key[:])
	b = append(b, key[:]...)
	start := len(b)
	b = append(b, f.Payload...)
	mask(b[start:], key)
	return b
}

func mask(payload []byte, key [4]byte) {
	for i := range payload {
		payload[i] ^= key[i&3]
	}
}

// CloseFrame returns a Close frame. A code of 0 means one without a payload.
func CloseFrame(code int, reason string) Frame {
	var payload []byte
	if code != 0 {
		payload = append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
	}
	return Frame{Fin: true, Op: Close, Payload: payload}
}

// closeError is what a Close frame says.
func (f Frame) closeError() *CloseError {
	if len(f.Payload) < 2 {
		return &CloseError{}
	}
	return &CloseError{int(binary.BigEndian.Uint16(f.Payload)), string(f.Payload[2:])}
}

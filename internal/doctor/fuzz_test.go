package doctor

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/frame"
)

// Whatever a server sends, reading it ends, and with it the bytes.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0x81, 5, 'h', 'e', 'l', 'l', 'o', 0x8a, 0, 0x88, 2, 0x03, 0xe9})
	f.Add([]byte{0x82, 126, 0, 3, 1, 2, 3, 0x89, 125})
	f.Add([]byte{0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{0x81, 0x81, 1, 2, 3, 4, 5})
	f.Add([]byte{0x89, 126, 1, 0})
	f.Fuzz(func(t *testing.T, sent []byte) {
		c := &conn{in: bufio.NewReader(bytes.NewReader(sent))}
		total := 0
		for {
			op, payload, err := c.readFrame()
			if len(payload) > frame.MaxControlPayload || op > 0x0f {
				t.Fatalf("opcode %#x with %d bytes", op, len(payload))
			}
			if err != nil {
				return
			}
			if total += 2 + len(payload); total > len(sent) {
				t.Fatalf("%d bytes of %d", total, len(sent))
			}
		}
	})
}

package doctor

import (
	"bufio"
	"bytes"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// Whatever a server sends, readFrame ends at the end of the input, and doesn't keep
// more than was sent.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0x81, 5, 'h', 'e', 'l', 'l', 'o', 0x8a, 0, 0x88, 2, 0x03, 0xe9})
	f.Add([]byte{0x82, 126, 0, 3, 1, 2, 3, 0x89, 125})
	f.Add([]byte{0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{0x81, 0x81, 1, 2, 3, 4, 5})
	f.Add([]byte{0x89, 126, 1, 0})
	f.Add([]byte{0x01, 2, 'a', 'b', 0x89, 1, 'c', 0x80, 2, 'd', 'e'})
	f.Fuzz(func(t *testing.T, sent []byte) {
		c := &conn{in: bufio.NewReader(bytes.NewReader(sent)), keepTexts: true}
		total := 0
		for {
			op, payload, err := c.readFrame()
			if len(payload) > frame.MaxControlPayload || op > 0x0f {
				t.Fatalf("opcode %#x with %d bytes", op, len(payload))
			}
			if kept := len(strings.Join(c.texts, "")) + len(c.message); kept > len(sent) || len(c.texts) > maxTexts {
				t.Fatalf("%d messages, %d bytes of %d", len(c.texts), kept, len(sent))
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

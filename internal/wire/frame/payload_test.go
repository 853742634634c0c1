package frame_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// TestSkip: skipping a payload, as far as possible, leaves the walker in the same state
// as walking it.
func TestSkip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		masked := rapid.Bool().Draw(t, "masked")
		stream, messages := drawStream(t, masked)
		seeing, blind := frame.Walker{Masked: masked}, frame.Walker{Masked: masked}
		piece := rapid.OneOf(rapid.IntRange(1, 16), rapid.IntRange(1, 70000))
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), piece.Draw(t, "piece"))
			if left := blind.Payload(); left > 0 && rapid.Bool().Draw(t, "skip") {
				n = min(n, int(left))
				blind.Skip(uint64(n))
			} else {
				blind.Walk(rest[:n], 0)
			}
			seeing.Walk(rest[:n], 0)
			if seeing != blind {
				t.Fatalf("after %d bytes it is %+v, want %+v", len(stream)-len(rest)+n, blind, seeing)
			}
			rest = rest[n:]
		}
		if blind.Messages != messages {
			t.Fatalf("%d messages, want %d", blind.Messages, messages)
		}
	})
}

// TestPayloadOfDataOnly: neither the payload of control frames nor headers can be skipped.
func TestPayloadOfDataOnly(t *testing.T) {
	for _, c := range []struct {
		name string
		come []byte
		want uint64
	}{
		{"nothing", nil, 0},
		{"half a header", []byte{0x82, 126, 1}, 0},
		{"a header", []byte{0x82, 126, 1, 0}, 256},
		{"some payload", []byte{0x82, 126, 1, 0, 'x', 'y'}, 254},
		{"a fragment's header", []byte{0x02, 5}, 5},
		{"the next fragment's", []byte{0x02, 1, 'x', 0x80, 9}, 9},
		{"a whole frame", []byte{0x82, 1, 'x'}, 0},
		{"a ping", []byte{0x89, 5, 'x'}, 0},
		{"a pong", []byte{0x8A, 5, 'x'}, 0},
		{"a close", []byte{0x88, 5, 3}, 0},
	} {
		var w frame.Walker
		w.Walk(c.come, 0)
		if got := w.Payload(); got != c.want {
			t.Errorf("%s: Payload = %d, want %d", c.name, got, c.want)
		}
	}
}

package frame_test

import (
	"bytes"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// TestStopAtClose: the walker stops before a Close frame, however the stream is cut, and
// nowhere else; the frames before it are walked as usual.
func TestStopAtClose(t *testing.T) {
	before := []byte{
		0x01, 2, 0x88, 0x02, // a fragment with the beginning of a Close in it
		0x89, 1, 0x88,
		0x80, 0,
		0x8A, 0,
	}
	stream := append(bytes.Clone(before), 0x88, 2, 0x03, 0xE8)
	for piece := 1; piece <= len(stream); piece++ {
		var w frame.Walker
		walked := 0
		for walked < len(stream) {
			n, ev := w.Walk(stream[walked:min(len(stream), walked+piece)], frame.StopAtClose)
			if walked += n; ev == frame.AtClose {
				break
			} else if ev != frame.More {
				t.Fatalf("event %d at %d", ev, walked)
			}
		}
		if walked != len(before) || !w.AtMessage() || w.Messages != 1 {
			t.Errorf("in pieces of %d it stopped at %d, want %d", piece, walked, len(before))
		}
		if n, ev := w.Walk(stream[walked:], 0); ev != frame.Closed || n != 4 || w.CloseCode() != 1000 {
			t.Errorf("then: %d, event %d, code %d", n, ev, w.CloseCode())
		}
	}
}

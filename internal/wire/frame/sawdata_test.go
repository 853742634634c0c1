package frame_test

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// TestSawData: bytes of messages are distinguished from control frames, however the
// stream is cut.
func TestSawData(t *testing.T) {
	data := wire(0x82, true, make([]byte, 300), -1)
	ping := wire(0x89, true, []byte("ping"), -1)
	part := wire(0x02, true, nil, -1) // an empty first fragment
	w := frame.Walker{Masked: true}
	for _, c := range []struct {
		name string
		p    []byte
		want bool
	}{
		{"nothing", nil, false},
		{"a ping", ping, false},
		{"half a ping", ping[:7], false},
		{"its rest", ping[7:], false},
		{"half a header", data[:3], false},
		{"the rest of it", data[3:8], true},
		{"nothing more", nil, false},
		{"payload", data[8:100], true},
		{"the rest of that", data[100:], true},
		{"a fragment without payload", part, true},
		{"a ping behind it", ping, false},
	} {
		w.Walk(c.p, frame.StopAfterPing)
		if got := w.SawData(); got != c.want || w.SawData() {
			t.Errorf("%s: Spoke is %v, want %v, and then false", c.name, got, c.want)
		}
	}
}

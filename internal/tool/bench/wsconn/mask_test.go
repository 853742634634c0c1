package wsconn

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

func TestMask(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "p")
		key := [4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "key"))
		at := rapid.IntRange(0, 1000).Draw(t, "at")
		want := bytes.Clone(p)
		for i := range want {
			want[i] ^= key[(at+i)%4] // RFC 6455 §5.3
		}
		mask(p, key, at)
		if !bytes.Equal(p, want) {
			t.Fatalf("mask from %d with %x: got %x, want %x", at, key, p, want)
		}
	})
}

// TestFramesAreValid checks sent frames with internal/wire/frame, which is tested
// against a naive parser, and checks that parseHead parses them.
func TestFramesAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(65000, 66000)).Draw(t, "size")
		masked := rapid.Bool().Draw(t, "masked")
		payload := bytes.Repeat([]byte{'x', 'y', 'z'}, size/3+1)[:size]
		f := appendFrame(nil, frame.OpText, payload, masked)
		w := frame.Walker{Masked: masked}
		if n, ev := w.Walk(f, frame.StopAtMessage); n != len(f) || ev != frame.AtMessage || w.Messages != 1 {
			t.Fatalf("Walk = %d of %d, %d, %s", n, len(f), ev, w.Fault())
		}
		for i := range min(len(f), frame.MaxHead+1) {
			if h, ok, err := parseHead(f[:i], !masked, 0); err != nil || ok && h.length > i {
				t.Fatalf("parseHead of %d bytes: %+v, %v, %v", i, h, ok, err)
			}
		}
		h, ok, err := parseHead(f, !masked, 0)
		if !ok || err != nil || h.length+h.size != len(f) {
			t.Fatalf("parseHead = %+v, %v, %v", h, ok, err)
		}
		got := f[h.length:]
		if masked {
			mask(got, h.key, 0)
		}
		if !bytes.Equal(got, payload) {
			t.Fatal("the payload differs")
		}
	})
}

// parseHead accepts and rejects the same frames as internal/wire/frame.
func FuzzParseHead(f *testing.F) {
	f.Add([]byte{0x81, 0x05, 'h'}, true)
	f.Add([]byte{0x81, 0x85, 1, 2, 3, 4}, false)
	f.Add([]byte{0x88, 0x01, 0}, true)
	f.Add([]byte{0x82, 126, 1, 0}, true)
	f.Add([]byte{0x82, 126, 0, 1}, true)
	f.Add([]byte{0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, true)
	f.Add([]byte{0x88, 2, 0, 0}, true)
	f.Add([]byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}, true)
	f.Add([]byte{0x83, 0}, true)
	f.Add([]byte{0xC1, 0}, true)
	f.Fuzz(func(t *testing.T, p []byte, client bool) {
		h, ok, err := parseHead(p, client, 0)
		if len(p) < 2 || p[0]&0x70 != 0 || p[0]&0x0F == frame.OpContinuation {
			return // depends on earlier frames or on extensions
		}
		w := frame.Walker{Masked: !client}
		w.Walk(p, 0)
		// The Walker checks complete headers, parseHead as early as possible.
		// The code of a Close isn't in the header.
		if w.Fault() != frame.NoFault && w.Fault() != frame.FaultCloseCode && err == nil && ok && h.length+h.size >= len(p) {
			t.Fatalf("%x, client %v: the Walker says %s, parseHead %+v", p, client, w.Fault(), h)
		}
		if err != nil && len(p) >= frame.MaxHead && w.Fault() == frame.NoFault && len(p) < 1<<16 && h.size == 0 && p[1]&0x7f != 127 {
			t.Fatalf("%x, client %v: the Walker sees no fault, parseHead says %v", p, client, err)
		}
	})
}

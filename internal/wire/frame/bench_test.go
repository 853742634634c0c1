package frame_test

import (
	"bytes"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

func BenchmarkWalk(b *testing.B) {
	small := wire(0x81, true, make([]byte, 64), -1)
	large := wire(0x82, true, make([]byte, 16<<10), -1)
	for _, c := range []struct {
		name string
		p    []byte
	}{
		{"64 B", small},
		{"16 KiB", large},
		{"512 frames of 64 B", bytes.Repeat(small, 512)},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := frame.Walker{Masked: true}
			b.ReportAllocs()
			b.SetBytes(int64(len(c.p)))
			for b.Loop() {
				w.Walk(c.p, 0)
			}
		})
	}
}

func BenchmarkPing(b *testing.B) {
	var buf [64]byte
	w := frame.Walker{Masked: true}
	b.ReportAllocs()
	for b.Loop() {
		ping := frame.AppendPing(buf[:0], true, 42)
		ping[0] = 0x8A
		if _, m := w.HoldPong(ping, 42); m != frame.Same {
			b.Fatal("no match")
		}
	}
}

// TestNoAllocations: Walk and HoldPong process every byte.
func TestNoAllocations(t *testing.T) {
	p := bytes.Repeat(wire(0x81, true, make([]byte, 64), -1), 16)
	w := frame.Walker{Masked: true}
	var buf [64]byte
	if n := testing.AllocsPerRun(100, func() {
		w.Walk(p[:100], frame.StopAtMessage)
		w = frame.Walker{Masked: true}
		w.Walk(p, 0)
		w = frame.Walker{Masked: true}
		w.HoldPong([]byte{0x8A, 0x88, 1, 2}, 1)
		w.ReleasePong(buf[:0], 1)
		frame.AppendPing(buf[:0], true, 1)
		frame.AppendClose(buf[:0], true, 1001, "going away")
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

package frame_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// FuzzWalk compares the Walker, fed in one piece, in random ones and byte by
// byte, with the naive parser, under all Rules.
func FuzzWalk(f *testing.F) {
	big := make([]byte, 70000)
	for _, masked := range []bool{false, true} {
		for _, s := range [][]byte{
			nil,
			wire(0x81, masked, []byte("hello"), -1),
			wire(0x81, !masked, []byte("hello"), -1),
			wire(0x82, masked, big[:126], -1),
			wire(0x82, masked, big, -1)[:40],
			join(wire(0x01, masked, []byte("a"), -1), wire(0x8A, masked, big[:8], -1), wire(0x80, masked, []byte("b"), -1)),
			join(wire(0x81, masked, []byte("x"), -1), wire(0x88, masked, []byte("\x03\xe8bye"), -1), []byte("rest")),
			wire(0x88, masked, []byte{3}, -1),
			wire(0x88, masked, []byte{3, 0xE8}, 2),
			wire(0x80, masked, nil, -1),
			wire(0x8B, masked, nil, -1),
			wire(0x88, masked, []byte{3, 0xED, 'x'}, -1),
			wire(0xC1, masked, []byte("z"), -1),
			join(wire(0x41, masked, nil, -1), wire(0x40, masked, nil, -1)),
			wire(0xB3, masked, nil, -1),
			wire(0x82, masked, []byte("x"), 8),
			join(wire(0x01, masked, nil, -1), wire(0x81, masked, nil, -1), wire(0x80, masked, nil, -1)),
			wire(0x09, masked, big[:300], -1),
			{0x88, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3},
			{0x82, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4},
			{0x82, 0x7F, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1},
		} {
			f.Add(s, masked, uint64(len(s)))
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte, masked bool, seed uint64) {
		for rules := range frame.Rules(8) {
			check(t, stream, masked, rules, nil)
			check(t, stream, masked, rules, pieces(seed, len(stream)))
			check(t, stream, masked, rules, ones(len(stream)))
		}
	})
}

// FuzzHoldPong compares HoldPong, fed in random pieces, with a pong written by hand: only
// that is Same, equal bytes are held, and what is released is what was held.
func FuzzHoldPong(f *testing.F) {
	for _, masked := range []bool{false, true} {
		f.Add(wire(0x8A, masked, []byte("\x00\x00\x00\x00\x00\x00\x00\x07"), -1), masked, uint64(7))
		f.Add(wire(0x8A, masked, []byte("\x00\x00\x00\x00\x00\x00\x00\x08"), -1), masked, uint64(7))
		f.Add(wire(0x8A, masked, []byte("\x01\x00\x00\x00\x00\x00\x00\x07"), -1), masked, uint64(7))
		f.Add(wire(0x8A, masked, nil, -1), masked, uint64(0))
		f.Add([]byte{0x8A}, masked, uint64(1))
		f.Add([]byte{0xCA}, masked, uint64(1))
		f.Add([]byte{}, masked, uint64(1))
	}
	f.Fuzz(func(t *testing.T, p []byte, masked bool, nonce uint64) {
		pong := binary.BigEndian.AppendUint64([]byte{0x8A, 8}, nonce)
		if masked {
			key := [4]byte{}
			copy(key[:], p[min(2, len(p)):])
			pong = append([]byte{0x8A, 0x88}, key[:]...)
			for i := range 8 {
				pong = append(pong, byte(nonce>>(56-8*i))^key[i%4])
			}
		}
		if size := frame.PongSize(masked); size != len(pong) {
			t.Fatalf("size %d, want %d", size, len(pong))
		}
		agree := 0
		for agree < len(p) && agree < len(pong) && p[agree] == pong[agree] {
			agree++
		}
		want := frame.Different
		if agree == len(pong) {
			want = frame.Same
		} else if agree == len(p) {
			want = frame.Undecided
		}
		for _, sizes := range [][]int{nil, pieces(nonce, len(p)), ones(len(p))} {
			w := frame.Walker{Masked: masked}
			got, at := frame.Undecided, 0
			for at < len(p) && got == frame.Undecided {
				size := len(p) - at
				if len(sizes) > 0 {
					size, sizes = min(size, sizes[0]), sizes[1:]
				}
				var n int
				n, got = w.HoldPong(p[at:at+size], nonce)
				if at += n; got != frame.Same && w.Held() != at || !w.AtMessage() {
					t.Fatalf("after %d bytes of %x %d are held, AtMessage %v", at, p, w.Held(), w.AtMessage())
				}
			}
			if got != want || at != agree {
				t.Fatalf("HoldPong of %x, %v, %x = %d after %d bytes, want %d after %d", p, masked, nonce, got, at, want, agree)
			}
			if got == frame.Same {
				agree = 0
			}
			if kept := w.ReleasePong(nil, nonce); !bytes.Equal(kept, p[:agree]) || w.Held() != 0 {
				t.Fatalf("of %x was given back %x, want %d bytes; %d are held still", p, kept, agree, w.Held())
			}
			// It has left no trace in the Walker.
			fresh := frame.Walker{Masked: masked}
			n, ev := w.Walk(p, 0)
			if m, same := fresh.Walk(p, 0); n != m || ev != same || w.Fault() != fresh.Fault() || w.CloseCode() != fresh.CloseCode() {
				t.Fatalf("after %x was given back, Walk of it = %d, %d, want %d, %d", p, n, ev, m, same)
			}
			if got == frame.Same {
				agree = len(pong)
			}
		}
	})
}

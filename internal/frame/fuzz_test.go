package frame_test

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/frame"
)

// FuzzWalk compares the Walker, fed in one piece, in random ones and byte by
// byte, with the naive parser.
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
			{0x82, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4},
			{0x82, 0x7F, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1},
		} {
			f.Add(s, masked, uint64(len(s)))
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte, masked bool, seed uint64) {
		check(t, stream, masked, nil)
		check(t, stream, masked, pieces(seed, len(stream)))
		check(t, stream, masked, ones(len(stream)))
	})
}

// FuzzMatchPong holds MatchPong to the naive parser: Same is that pong and
// nothing else, Different can't become it, Undecided can.
func FuzzMatchPong(f *testing.F) {
	for _, masked := range []bool{false, true} {
		f.Add(wire(0x8A, masked, []byte("\x00\x00\x00\x00\x00\x00\x00\x07"), -1), masked, uint64(7))
		f.Add(wire(0x8A, masked, []byte("\x00\x00\x00\x00\x00\x00\x00\x08"), -1), masked, uint64(7))
		f.Add(wire(0x8A, masked, nil, -1), masked, uint64(0))
		f.Add([]byte{0x8A}, masked, uint64(1))
		f.Add([]byte{}, masked, uint64(1))
	}
	f.Fuzz(func(t *testing.T, p []byte, masked bool, nonce uint64) {
		m, size := frame.MatchPong(p, masked, nonce)
		var want [8]byte
		for i := range want {
			want[i] = byte(nonce >> (56 - 8*i))
		}
		whole := wire(0x8A, masked, want[:], -1)
		if size != len(whole) {
			t.Fatalf("size %d, want %d", size, len(whole))
		}
		is := frame.Different
		if len(p) >= 2 && p[0] == whole[0] && p[1] == whole[1] {
			is = frame.Undecided
			if len(p) >= size {
				is = frame.Different
				if g, ok := parse(p, 0, masked, false); ok && string(g.payload) == string(want[:]) {
					is = frame.Same
				}
			}
		} else if len(p) == 0 || len(p) == 1 && p[0] == whole[0] {
			is = frame.Undecided
		}
		if m != is {
			t.Fatalf("MatchPong(%x, %v, %x) = %d, want %d", p, masked, nonce, m, is)
		}
	})
}

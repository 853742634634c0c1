package frame_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// drawStream draws valid frames: messages whole and in fragments, with control frames in
// between, and perhaps a Close at the end.
func drawStream(t *rapid.T, masked bool) (stream []byte, messages uint64) {
	size := rapid.OneOf(rapid.IntRange(0, 20), rapid.SampledFrom([]int{124, 125, 126, 127, 1000, 65535, 65536}))
	payload := func() []byte { return make([]byte, size.Draw(t, "size")) }
	controls := func() {
		for range rapid.IntRange(0, 2).Draw(t, "controls") {
			op := rapid.SampledFrom([]byte{0x89, 0x8A}).Draw(t, "control")
			n := rapid.SampledFrom([]int{0, 8, 125}).Draw(t, "control size")
			stream = append(stream, wire(op, masked, make([]byte, n), -1)...)
		}
	}
	for range rapid.IntRange(0, 6).Draw(t, "messages") {
		op := rapid.SampledFrom([]byte{1, 2}).Draw(t, "op")
		for more := rapid.IntRange(0, 3).Draw(t, "fragments"); more > 0; more-- {
			stream = append(stream, wire(op, masked, payload(), -1)...)
			controls()
			op = 0
		}
		stream = append(stream, wire(0x80|op, masked, payload(), -1)...)
		messages++
		controls()
	}
	if rapid.Bool().Draw(t, "close") {
		stream = append(stream, wire(0x88, masked, []byte{3, 0xE8, 'x'}, -1)...)
	}
	return stream, messages
}

func drawSizes(t *rapid.T) []int {
	return rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 16), rapid.IntRange(1, 70000)), 0, 60).Draw(t, "pieces")
}

func drawRules(t *rapid.T) frame.Rules { return frame.Rules(rapid.IntRange(0, 7).Draw(t, "rules")) }

func TestValidStreamsInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		masked := rapid.Bool().Draw(t, "masked")
		stream, messages := drawStream(t, masked)
		sizes, rules := drawSizes(t), drawRules(t)
		if s, _ := walk(t, stream, masked, rules, sizes); s.fault != frame.NoFault || s.messages != messages {
			t.Fatalf("fault %q, %d messages; want none, %d", s.fault, s.messages, messages)
		}
		check(t, stream, masked, rules, sizes)
	})
}

// TestDamagedStreamsInPieces flips a byte somewhere.
func TestDamagedStreamsInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		masked := rapid.Bool().Draw(t, "masked")
		stream, _ := drawStream(t, masked)
		if len(stream) > 0 {
			i := rapid.IntRange(0, len(stream)-1).Draw(t, "at")
			stream[i] ^= rapid.Byte().Draw(t, "damage")
		}
		check(t, stream, masked, drawRules(t), drawSizes(t))
	})
}

func TestAppendClose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		masked := rapid.Bool().Draw(t, "masked")
		code := rapid.OneOf(rapid.Just(uint16(0)), rapid.Uint16()).Draw(t, "code")
		reason := strings.Repeat(rapid.SampledFrom([]string{"a", "é", "€", "😀"}).Draw(t, "character"), rapid.IntRange(0, 130).Draw(t, "times"))
		b := frame.AppendClose([]byte("before"), masked, code, reason)
		rest, kept := bytes.CutPrefix(b, []byte("before"))
		f, ok := parse(rest, 0, masked, false, 0)
		if !kept || !ok || f.fault != frame.NoFault || f.end != uint64(len(rest)) || f.op != frame.OpClose || rest[0] != 0x88 {
			t.Fatalf("%x is not one Close frame: %+v", b, f)
		}
		if code == 0 { // one without code and reason, RFC 6455 section 5.5.1
			if len(f.payload) != 0 {
				t.Fatalf("payload %q, want none", f.payload)
			}
			return
		}
		got := string(f.payload[2:])
		if binary.BigEndian.Uint16(f.payload) != code || len(f.payload) > 125 || got != reason[:len(got)] || len(reason) <= 123 && got != reason {
			t.Fatalf("payload %q, want %d and %q", f.payload, code, reason)
		}
		if !utf8.ValidString(got) {
			t.Fatalf("%q was cut inside a character, which RFC 6455 section 5.5.1 forbids", got)
		}
		check(t, rest, masked, 0, []int{1})
	})
}

func TestPingAndPong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		toServer := rapid.Bool().Draw(t, "masked")
		nonce := rapid.Uint64().Draw(t, "nonce")
		ping := frame.AppendPing(nil, toServer, nonce)
		f, ok := parse(ping, 0, toServer, false, 0)
		if !ok || f.fault != frame.NoFault || ping[0] != 0x89 || f.end != uint64(len(ping)) || len(f.payload) != frame.PingSize {
			t.Fatalf("%x is not one ping: %+v", ping, f)
		}
		// The peer answers with the same payload, RFC 6455 section 5.5.3.
		pong := wire(0x8A, !toServer, f.payload, -1)
		w := frame.Walker{Masked: !toServer}
		for i := range pong {
			if n, m := w.HoldPong(pong[i:i+1], nonce); n != 1 || (m == frame.Same) != (i+1 == len(pong)) || m == frame.Different {
				t.Fatalf("byte %d of %x: HoldPong = %d, %d", i, pong, n, m)
			}
		}
		if n, m := w.HoldPong(append(pong, 0x81), nonce); m != frame.Same || n != len(pong) || w.Held() != 0 {
			t.Fatalf("HoldPong(%x) = %d, %d, %d held; want %d, Same, none", pong, n, m, w.Held(), len(pong))
		}
		other := nonce ^ 1<<rapid.IntRange(0, 63).Draw(t, "bit")
		if n, m := w.HoldPong(pong, other); m != frame.Different || !bytes.Equal(w.ReleasePong(nil, other), pong[:n]) {
			t.Fatalf("the pong for %x matches %x as %d, after %d bytes", nonce, other, m, n)
		}
		w = frame.Walker{Masked: toServer}
		if n, m := w.HoldPong(pong, nonce); n != 1 || m != frame.Different {
			t.Fatalf("a pong of wrong masking matches as %d, after %d bytes", m, n)
		}
	})
}

// TestMaskKeysDiffer: RFC 6455 section 5.3 requires a new key for every frame.
func TestMaskKeysDiffer(t *testing.T) {
	seen := map[[4]byte]bool{}
	for range 64 {
		seen[[4]byte(frame.AppendPing(nil, true, 1)[2:6])] = true
	}
	if len(seen) < 60 {
		t.Errorf("64 frames had %d different masking keys", len(seen))
	}
}

func pieces(seed uint64, n int) []int {
	r := rand.New(rand.NewPCG(seed, 1))
	var sizes []int
	for total := 0; total < n && len(sizes) < 10_000; {
		size := 1 + r.IntN(1+r.IntN(40))
		sizes = append(sizes, size)
		total += size
	}
	return sizes
}

func ones(n int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = 1
	}
	return sizes
}

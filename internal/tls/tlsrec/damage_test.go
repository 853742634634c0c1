package tlsrec

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// letter is the next thing a peer sends in TestDamagedStreams.
func letter(r *rand.Rand, peer *end, isClient bool) (record []byte, plain string) {
	tls13 := peer.state.suiteInfo().tls13
	switch r.IntN(10) {
	case 0:
		return peer.record(typeData, nil, 0), ""
	case 1:
		if tls13 {
			return peer.keyUpdate(byte(r.IntN(2))), ""
		}
		return peer.record(typeAlert, []byte{1, 112}, 0), ""
	case 2:
		if tls13 && isClient {
			return peer.handshake(ticket(r.IntN(100))...), ""
		}
	}
	size := r.IntN(100)
	if r.IntN(50) == 0 {
		size = r.IntN(2 * MaxPlaintext)
	}
	plain = strings.Repeat(string(rune('a'+r.IntN(26))), size)
	if size < 100 && size > 0 {
		return peer.record(typeData, []byte(plain), r.IntN(20)), plain
	}
	return peer.data(plain), plain
}

func noise(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// damage changes a stream of records. starts are where they begin.
func damage(r *rand.Rand, src []byte, starts []int) []byte {
	i := r.IntN(len(src))
	if r.IntN(3) == 0 { // a header
		i = starts[r.IntN(len(starts))] + r.IntN(HeaderSize)
	}
	n := min(1+r.IntN(30), len(src)-i)
	// Two whole records.
	a, b := r.IntN(len(starts)), r.IntN(len(starts))
	record := func(i int) []byte {
		if i+1 < len(starts) {
			return src[starts[i]:starts[i+1]]
		}
		return src[starts[i]:]
	}
	out := slices.Clone(src)
	switch r.IntN(8) {
	case 0:
		out[i] ^= 1 << r.IntN(8)
	case 1:
		out[i] = byte(r.Uint32())
	case 2:
		copy(out[i:], noise(r, n))
	case 3:
		out = slices.Delete(out, i, i+n)
	case 4:
		out = slices.Insert(out, i, noise(r, n)...)
	case 5:
		out = out[:i]
	case 6: // one of them twice
		out = slices.Insert(out, starts[b], record(a)...)
	case 7: // in the wrong order
		if a > b {
			a, b = b, a
		}
		if a < b {
			out = slices.Concat(src[:starts[a]], record(b), src[starts[a]:starts[b]], src[starts[b]+len(record(b)):])
		}
	}
	return out
}

// expected is how a damaged stream ends: with which alert, or "none" if the rest of a
// record is awaited.
func expected(s *State, src, damaged []byte, starts []int) string {
	if string(damaged) == string(src) {
		return "closed"
	}
	same := 0
	for same < min(len(src), len(damaged)) && src[same] == damaged[same] {
		same++
	}
	if same == len(src) {
		return "closed" // the damage is behind close_notify
	}
	// The record in which the damage begins.
	at := 0
	for _, start := range starts {
		if start <= same {
			at = start
		}
	}
	b := damaged[at:]
	tls13 := s.suiteInfo().tls13
	switch most := s.suiteInfo().maxPayload(); {
	case len(b) < HeaderSize:
		return "none"
	case b[0] != 23 && (tls13 || b[0] != 21 && b[0] != 22):
		return "unexpected_message"
	case b[1] != 3 || b[2] != 3:
		return "protocol_version"
	case int(binary.BigEndian.Uint16(b[3:])) > most:
		return "record_overflow"
	case len(b) < HeaderSize+int(binary.BigEndian.Uint16(b[3:])):
		return "none"
	}
	return "bad_record_mac"
}

// TestDamagedStreams: a damaged stream ends with the right alert, and whatever comes out
// before is the beginning of what was sent.
func TestDamagedStreams(t *testing.T) {
	all := kinds()
	ended := map[string]int{}
	for seed := range uint64(10_000) {
		r := rand.New(rand.NewPCG(seed, 0))
		k := all[r.IntN(len(all))]
		ours, peer := ends(t, k)
		var src []byte
		var plain strings.Builder
		var starts []int
		add := func(record []byte, p string) {
			for at := 0; at < len(record); {
				starts = append(starts, len(src)+at)
				at += HeaderSize + int(binary.BigEndian.Uint16(record[at+3:]))
			}
			src = append(src, record...)
			plain.WriteString(p)
		}
		for range 1 + r.IntN(8) {
			add(letter(r, peer, k.isClient))
		}
		add(peer.record(typeAlert, []byte{1, 0}, 0), "")

		damaged := damage(r, src, starts)
		want := expected(&ours.state, src, damaged, starts)
		var got, rest []byte
		var err error
		for in := damaged; len(in) > 0 && err == nil; {
			n := min(len(in), 1+r.IntN(2*len(damaged)))
			rest = append(rest, in[:n]...)
			in = in[n:]
			dst := make([]byte, len(rest))
			var n2, used int
			n2, used, err = ours.layer.Open(&ours.state, dst, rest)
			got = append(got, dst[:n2]...)
			rest = rest[used:]
		}
		if !strings.HasPrefix(plain.String(), string(got)) {
			t.Fatalf("seed %d, %v: opened %q of %q", seed, k, got, plain.String())
		}
		if alertOf(err) != want {
			t.Fatalf("seed %d, %v: it ended with %s, want %s", seed, k, alertOf(err), want)
		}
		if want == "closed" && string(got) != plain.String() {
			t.Fatalf("seed %d, %v: not all was opened", seed, k)
		}
		ended[want]++
	}
	t.Log(ended)
	for _, want := range []string{"none", "closed", "bad_record_mac", "unexpected_message", "protocol_version", "record_overflow"} {
		if ended[want] < 20 {
			t.Errorf("just %d streams ended with %s", ended[want], want)
		}
	}
}

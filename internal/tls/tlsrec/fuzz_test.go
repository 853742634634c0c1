package tlsrec

import (
	"bytes"
	"testing"
)

// fuzzOpen opens what the bytes of the input say. They begin with an index of a suite,
// how the peer's records are cut, and where and how they are damaged. Records follow
// with their type, the lengths of content and padding, and their content. Behind them
// are bytes that aren't records.
func fuzzOpen(t *testing.T, isClient bool, input []byte) {
	if len(input) < 5 {
		return
	}
	k := kind{suites[1+int(input[0])%(len(suites)-1)].id, isClient}
	cut, at, flip := 1+int(input[1]), int(input[2])<<3, input[3]
	records := int(input[4]) % 32
	input = input[5:]

	ours, peer := ends(t, k)
	var src, plain []byte
	for ; records > 0 && len(input) >= 3; records-- {
		kind, n, padding := input[0], min(int(input[1]), len(input)-3), int(input[2])
		content := input[3 : 3+n]
		input = input[3+n:]
		src = append(src, peer.record(kind, content, padding)...)
		if kind == 0 && peer.state.suiteInfo().tls13 {
			// It is padding, and the type is before it.
			if content = bytes.TrimRight(content, "\x00"); len(content) > 0 {
				kind, content = content[len(content)-1], content[:len(content)-1]
			}
		}
		if kind == typeData {
			plain = append(plain, content...)
		}
		if kind == typeHandshake && padding%2 == 1 && peer.state.suiteInfo().tls13 {
			peer.layer.update(&peer.state, out)
		}
	}
	src = append(src, input...)
	if at < len(src) {
		src[at] ^= flip
	}

	// At once and in pieces must be the same.
	whole := &end{NewLayer(1), ours.state}
	dst := make([]byte, len(src))
	n, used, err := whole.layer.Open(&whole.state, dst, src)
	if used > len(src) || n > used || !bytes.HasPrefix(plain, dst[:n]) {
		t.Fatalf("opened %q of %q, %d of %d bytes", dst[:n], plain, used, len(src))
	}
	var got, rest []byte
	var pieceErr error
	used2 := 0
	for len(src) > 0 && pieceErr == nil {
		c := min(cut, len(src))
		rest = append(rest, src[:c]...)
		src = src[c:]
		buf := make([]byte, len(rest))
		var n, u int
		n, u, pieceErr = ours.layer.Open(&ours.state, buf, rest)
		got = append(got, buf[:n]...)
		rest = rest[u:]
		used2 += u
	}
	if !bytes.Equal(got, dst[:n]) || used2 != used || alertOf(err) != alertOf(pieceErr) {
		t.Fatalf("in pieces: %q, %d, %v; at once: %q, %d, %v", got, used2, pieceErr, dst[:n], used, err)
	}
	if err != nil {
		if n, used, err := ours.layer.Open(&ours.state, dst, make([]byte, 100)); n > 0 || used > 0 || err == nil {
			t.Fatalf("after the end: %d, %d, %v", n, used, err)
		}
	}
	// Our side can be closed in any case.
	s := ours.state
	if alert := ours.layer.SealAlert(&ours.state, nil, AlertCloseNotify); len(alert) == 0 {
		t.Fatal("no alert")
	}
	if s.seq[out]+1 != ours.state.seq[out] {
		t.Fatal("the alert has no number of its own")
	}
}

func addSeeds(f *testing.F) {
	f.Add([]byte{0, 255, 255, 0, 2, 23, 5, 0, 'h', 'e', 'l', 'l', 'o', 21, 2, 3, 1, 0})
	f.Add([]byte{1, 3, 2, 1, 3, 23, 1, 200, 'x', 22, 5, 1, 24, 0, 0, 1, 1, 23, 1, 0, 'y'})
	f.Add([]byte{2, 9, 255, 0, 4, 22, 3, 0, 4, 0, 0, 22, 4, 0, 2, 7, 7, 24, 22, 4, 1, 0, 0, 1, 0, 23, 1, 0, 'z'})
	f.Add([]byte{3, 9, 255, 0, 2, 22, 4, 0, 0, 0, 0, 0, 23, 1, 0, 'z'})
	f.Add([]byte{7, 9, 255, 0, 2, 21, 2, 0, 1, 90, 21, 2, 0, 2, 40})
	f.Add(append([]byte{8, 50, 255, 0, 0}, "\x17\x03\x03\x00\x20 not a record, but it looks like one"...))
	f.Add(append([]byte{0, 50, 255, 0, 0}, "GET / HTTP/1.1\r\n\r\n"...))
}

func FuzzOpenClient(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, input []byte) { fuzzOpen(t, true, input) })
}

func FuzzOpenServer(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, input []byte) { fuzzOpen(t, false, input) })
}

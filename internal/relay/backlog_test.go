package relay

import (
	"bytes"
	"testing"
)

// TestBacklogTrim: numbers that aren't used any more take no memory after a trim; those
// in use keep their bytes.
func TestBacklogTrim(t *testing.T) {
	var b backlog
	var all []int32
	for i := range 1000 {
		all = append(all, b.keep([]byte{byte(i), 1}))
	}
	used := map[int]bool{3: true, 400: true}
	for i, n := range all {
		if !used[i] {
			b.drop(n)
		}
	}
	b.trim()
	if len(b.kept) != 401 || cap(b.kept) > 512 || len(b.free) != 399 || cap(b.free) > 512 {
		t.Errorf("%d numbers are left, with room for %d, and %d free ones, for %d", len(b.kept), cap(b.kept), len(b.free), cap(b.free))
	}
	again := map[int32]bool{}
	for range 500 {
		n := b.keep([]byte("new"))
		if again[n] || n == all[3] || n == all[400] {
			t.Fatalf("number %d is used twice", n)
		}
		again[n] = true
	}
	for i := range used {
		if !bytes.Equal(b.bytes(all[i]), []byte{byte(i), 1}) {
			t.Errorf("number %d has %q", all[i], b.bytes(all[i]))
		}
		b.drop(all[i])
	}
	for n := range again {
		b.drop(n)
	}
	if b.trim(); cap(b.kept)+cap(b.free)+b.size > 0 {
		t.Errorf("an empty one has %d numbers, %d free ones and %d bytes", cap(b.kept), cap(b.free), b.size)
	}
}

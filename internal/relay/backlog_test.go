package relay

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// TestBacklogOrder: whatever is dropped, the side for which bytes are kept the longest is
// known, and the size is that of all buffers.
func TestBacklogOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b backlog
		var order []int32 // by age
		sides := map[int32]turn{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch {
			case len(order) == 0 || rapid.Bool().Draw(t, "keep"):
				to := turn{int32(i), session.Side(i % 2)}
				n := b.keep(make([]byte, rapid.IntRange(1, 2000).Draw(t, "size")), to, eventloop.Tick(i))
				sides[n], order = to, append(order, n)
			case rapid.IntRange(0, 5).Draw(t, "trim") == 0:
				b.trim()
			default:
				k := rapid.IntRange(0, len(order)-1).Draw(t, "which")
				b.drop(order[k])
				order = slices.Delete(order, k, k+1)
			}
			size := 0
			for _, n := range order {
				size += cap(b.kept[n-1].buf)
			}
			to, some := b.longest()
			if some != (len(order) > 0) || some && to != sides[order[0]] || b.size != size {
				t.Fatalf("%v, %v is the oldest and the size is %d; %v are kept, %d bytes", to, some, b.size, order, size)
			}
		}
	})
}

// TestBacklogTrim: numbers that aren't used any more take no memory after a trim; those
// in use keep their bytes.
func TestBacklogTrim(t *testing.T) {
	var b backlog
	var all []int32
	for i := range 1000 {
		all = append(all, b.keep([]byte{byte(i), 1}, turn{}, 0))
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
		n := b.keep([]byte("new"), turn{}, 0)
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

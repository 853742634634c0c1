package relay

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// BenchmarkLook is what a loop is held up by one portion of the looks at all
// sessions that a rebalance takes: for who is leaving, and for the oldest of a
// third of them.
func BenchmarkLook(b *testing.B) {
	const sessions = portion * chunkRecords
	el := &epollLoop{}
	for i := range sessions {
		if i%chunkRecords == 0 {
			el.records = append(el.records, make([]record, chunkRecords))
		}
		*el.at(int32(i)) = record{live: true, backend: uint32(i % 3), started: int64(i), plan: movable}
	}
	b.Run("leaving", func(b *testing.B) {
		for b.Loop() {
			n := 0
			el.each(func(_ int32, r *record) {
				if r.leaves() {
					n++
				}
			})
		}
	})
	b.Run("oldest", func(b *testing.B) {
		o := Order{Most: map[uint32]int{1: 25}, MoveOnly: true, Select: func(session.Info) bool { return true }}
		for b.Loop() {
			all := oldest[int32]{most: o.Most}
			el.each(func(slot int32, r *record) {
				if r.chosen(&o) {
					all.add(r.backend, r.started, slot)
				}
			})
			if n := len(all.sorted()); n != 25 {
				b.Fatalf("%d are chosen", n)
			}
		}
	})
}

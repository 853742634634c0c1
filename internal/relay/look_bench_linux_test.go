package relay

import (
	"testing"
	"time"
)

// BenchmarkLook measures how long one portion of a look at all sessions holds up a
// loop. The looks are those of a rebalance: for sessions that are leaving, and for
// the oldest sessions of a third of the backends.
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
		oldestOf := Selection{Backends: map[uint32]Bound{1: {Most: 25, UpTo: time.Now()}}}
		q := (&MoveRequest{Selection: oldestOf}).request(nil)
		for b.Loop() {
			all := oldest[int32]{bounds: oldestOf.Backends}
			el.each(func(slot int32, r *record) {
				if q.includes(r) {
					all.add(r.backend, r.started, slot)
				}
			})
			if n := len(all.sorted()); n != 25 {
				b.Fatalf("%d are chosen", n)
			}
		}
	})
}

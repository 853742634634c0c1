package relay

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
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

// BenchmarkList lists 9,000 sessions of one loop. ns/op is for all of them; longest-ns is
// the longest time for which that keeps the loop at once, in the median round.
func BenchmarkList(b *testing.B) {
	const sessions = 9000
	el := &epollLoop{Loop: new(eventloop.Loop)}
	var ids []session.ID
	for i := range sessions {
		if i%chunkRecords == 0 {
			el.records = append(el.records, make([]record, chunkRecords))
		}
		ids = append(ids, session.NewID())
		*el.at(int32(i)) = record{live: true, backend: uint32(i % 3), started: int64(i + 1), id: ids[i]}
	}
	some := map[session.ID]bool{}
	for _, id := range ids[:sessions/2] {
		some[id] = true
	}
	for _, test := range []struct {
		name string
		of   *Filter
		want int
	}{
		{"all", nil, sessions},
		{"one", &Filter{IDs: map[session.ID]bool{ids[sessions-1]: true}}, 1},
		{"half", &Filter{IDs: some}, sessions / 2},
		{"network", &Filter{Clients: netip.MustParsePrefix("192.0.2.0/24"), Backends: map[uint32]bool{0: true, 1: true}}, 0},
	} {
		b.Run(test.name, func(b *testing.B) {
			turn := make([]session.Summary, 0, listSessions)
			var longest []time.Duration
			for b.Loop() {
				found, most := 0, time.Duration(0)
				for slot, more := int32(0), true; more; {
					began := time.Now()
					turn, slot, more = el.list(turn[:0], slot, test.of)
					most = max(most, time.Since(began))
					found += len(turn)
				}
				if found != test.want {
					b.Fatalf("%d are listed", found)
				}
				longest = append(longest, most)
			}
			slices.Sort(longest)
			b.ReportMetric(float64(longest[len(longest)/2].Nanoseconds()), "longest-ns")
			b.ReportMetric(float64(longest[len(longest)*99/100].Nanoseconds()), "longest-p99-ns")
		})
	}
}

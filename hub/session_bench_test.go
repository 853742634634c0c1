package hub_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"

	"github.com/holdfast-ws/holdfast/hub"
)

// Memory and time of a membership in a room, alone and as part of a session. Each
// room has one member, as in BenchmarkHub.
func BenchmarkSession(b *testing.B) {
	const places = 10_000
	ctx := context.Background()
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	next := func(b *testing.B, h hub.Hub, room string, next func(context.Context) (hub.Event, error)) {
		for b.Loop() {
			if _, err := h.Publish(ctx, room, nil); err != nil {
				b.Fatal(err)
			}
			if _, err := next(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("memberships", func(b *testing.B) {
		h := hub.Memory(hub.Options{History: 1})
		defer h.Close()
		before := heap()
		var all []*hub.Membership
		for i := range places {
			m, err := h.Join(ctx, strconv.Itoa(i), hub.Member{ID: strconv.Itoa(i)}, hub.JoinOptions{})
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, m)
		}
		idle := float64(heap()-before) / places
		next(b, h, "0", all[0].Next)
		b.ReportMetric(idle, "B/room")
	})
	for _, rooms := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("sessions in %d", rooms), func(b *testing.B) {
			h := hub.Memory(hub.Options{History: 1})
			defer h.Close()
			before := heap()
			var all []*hub.Session
			for i := range places / rooms {
				s := hub.NewSession(h, hub.Member{ID: strconv.Itoa(i)}, hub.SessionOptions{})
				for r := range rooms {
					if err := s.Join(ctx, strconv.Itoa(i*rooms+r), hub.JoinOptions{}); err != nil {
						b.Fatal(err)
					}
					if _, err := s.Next(ctx); err != nil { // Entered
						b.Fatal(err)
					}
				}
				all = append(all, s)
			}
			idle := float64(heap()-before) / places
			next(b, h, "0", all[0].Next)
			b.ReportMetric(idle, "B/room")
		})
	}
}

package hub_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/hub"
)

// Everything that happens in a large room reaches its members in order, while other
// members join and leave.
func TestLargeRoom(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{Queue: 1_000_000})
		const members, messages = 150, 60
		var want []string
		for n := range messages {
			want = append(want, strconv.Itoa(n))
		}
		ctx := longContext(t)
		got := make([][]string, members)
		var reading sync.WaitGroup
		for i := range got {
			m := join(t, a, "room", strconv.Itoa(i), hub.JoinOptions{Observer: true})
			reading.Go(func() {
				for range messages {
					e, err := m.Next(ctx)
					if err != nil {
						t.Errorf("member %d after %d messages: %v", i, len(got[i]), err)
						return
					}
					got[i] = append(got[i], describe(e))
				}
			})
		}
		watcher := join(t, a, "room", "watcher", hub.JoinOptions{Presence: true})
		publishing, stop := context.WithCancel(ctx)
		var coming sync.WaitGroup
		coming.Go(func() {
			for publishing.Err() == nil {
				m, err := a.Join(ctx, "room", hub.Member{ID: "guest"}, hub.JoinOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				m.Leave()
			}
		})
		for _, data := range want {
			publish(t, b, "room", data)
		}
		stop()
		coming.Wait()
		reading.Wait()
		for i := range got {
			if !slices.Equal(got[i], want) {
				t.Errorf("member %d has %q", i, got[i])
			}
		}
		var seen []string
		for len(seen) < messages {
			if e := next(t, watcher); e.Kind == hub.Message {
				seen = append(seen, string(e.Data))
			}
		}
		if !slices.Equal(seen, want) {
			t.Errorf("the watcher has %q", seen)
		}
	})
}

// Messages that are on their way to the members of a large room when the hub is
// closed are delivered before ErrClosed.
func TestLargeRoomIsClosed(t *testing.T) {
	h := hub.Memory(hub.Options{})
	var members []*hub.Membership
	for i := range 500 {
		members = append(members, join(t, h, "room", strconv.Itoa(i), hub.JoinOptions{}))
	}
	for n := range 100 {
		publish(t, h, "room", strconv.Itoa(n))
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		for n := range 100 {
			expect(t, m, strconv.Itoa(n))
		}
	}
}

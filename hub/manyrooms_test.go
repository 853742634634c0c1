package hub_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// joinMany joins n rooms with one member each.
func joinMany(t testing.TB, h hub.Hub, n int) []*hub.Membership {
	t.Helper()
	return joinAll(t, h, n, func(i int) (room, id string) { return fmt.Sprintf("room %d", i), "ann" })
}

// joinAll joins n times, 100 at a time. which says what the i-th joins, and as whom.
func joinAll(t testing.TB, h hub.Hub, n int, which func(i int) (room, id string)) []*hub.Membership {
	t.Helper()
	ctx := longContext(t)
	members := make([]*hub.Membership, n)
	var wg sync.WaitGroup
	const workers = 100
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				room, id := which(i)
				m, err := h.Join(ctx, room, hub.Member{ID: id}, hub.JoinOptions{})
				if err != nil {
					t.Errorf("%s joins %s: %v", id, room, err)
					return
				}
				members[i] = m
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return members
}

func TestTenThousandRooms(t *testing.T) {
	t.Parallel()
	const rooms = 10_000
	s := startRedis(t)
	a, b := s.hub(hub.RedisOptions{}), s.hub(hub.RedisOptions{})
	members := joinMany(t, a, rooms)
	publishRound := func(round int) {
		for i := 0; i < rooms; i += 97 {
			data := fmt.Sprintf("%d in %d", round, i)
			publish(t, b, fmt.Sprintf("room %d", i), data)
			expect(t, members[i], data)
		}
	}
	publishRound(1)
	c := s.client()
	defer c.Close()
	c.ClientKillByFilter(context.Background(), "TYPE", "pubsub")
	publishRound(2)
	for _, m := range members {
		m.Leave()
	}
	testkit.Eventually(t, "the rooms are empty and their channels unsubscribed", func() bool {
		channels, err := c.PubSubChannels(t.Context(), "holdfast:{*").Result()
		exists, err2 := c.Exists(t.Context(), "holdfast:{room%200}:m", "holdfast:{room%209999}:m").Result()
		return err == nil && err2 == nil && len(channels) == 0 && exists == 0
	})
}

package hub_test

import (
	"strconv"
	"testing"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// awaitStats waits until the stats equal want, since other servers may be slower.
func awaitStats(t testing.TB, h hub.Hub, want hub.Stats) {
	t.Helper()
	var got hub.Stats
	defer func() {
		if got != want {
			t.Errorf("the stats are\n %+v, want\n %+v", got, want)
		}
	}()
	testkit.Eventually(t, "stats", func() bool {
		got = h.Stats()
		return got == want
	})
}

func TestStats(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{Queue: 4})
		awaitStats(t, a, hub.Stats{Connected: true})
		ann := join(t, a, "room", "ann", hub.JoinOptions{Presence: true})
		bob := join(t, a, "room", "bob", hub.JoinOptions{})
		slow := join(t, a, "another room", "ann", hub.JoinOptions{})
		awaitStats(t, a, hub.Stats{Rooms: 2, Memberships: 3, Connected: true})

		publish(t, b, "room", "1")
		expect(t, ann, "joined bob", "1")
		expect(t, bob, "1")
		awaitStats(t, a, hub.Stats{Rooms: 2, Memberships: 3, Connected: true, Delivered: 3})

		for n := range 5 {
			publish(t, b, "another room", strconv.Itoa(n))
		}
		want := hub.Stats{Rooms: 2, Memberships: 3, Connected: true, Delivered: 3, Dropped: 5, Slow: 1}
		awaitStats(t, a, want)
		slow.Leave()
		bob.Leave()
		want.Rooms, want.Memberships = 1, 1
		awaitStats(t, a, want)

		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		ann.Leave()
		want.Rooms, want.Memberships = 0, 0
		want.Connected = k.name == "memory"
		awaitStats(t, a, want)
	})
}

func TestStatsOfDroppedEvents(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{Queue: 3, Policy: hub.DropOldest})
		slow := join(t, a, "room", "slow", hub.JoinOptions{})
		for n := range 6 {
			publish(t, b, "room", strconv.Itoa(n))
		}
		testkit.Eventually(t, "the newest is queued", func() bool { return slow.Newest() == "5" })
		expect(t, slow, "gap", "4", "5")
		awaitStats(t, a, hub.Stats{Rooms: 1, Memberships: 1, Connected: true, Delivered: 3, Dropped: 4, Gaps: 1})
	})
}

func TestStatsOfAnOutage(t *testing.T) {
	t.Parallel()
	s := startRedis(t) // loses its data
	h := s.hub(hub.RedisOptions{})
	ann := join(t, h, "room", "ann", hub.JoinOptions{})
	join(t, h, "another room", "ann", hub.JoinOptions{})
	publish(t, h, "room", "1")
	expect(t, ann, "1")
	s.kill()
	awaitStats(t, h, hub.Stats{Rooms: 2, Memberships: 2, Delivered: 1})
	s.start()
	expect(t, ann, "gap")
	awaitStats(t, h, hub.Stats{
		Rooms: 2, Memberships: 2, Connected: true,
		Delivered: 2, Gaps: 1, CatchUps: 2, Reconnects: 1,
	})
}

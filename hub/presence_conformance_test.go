package hub_test

import (
	"testing"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

func names(t testing.TB, h hub.Hub, room string) (ids []string) {
	t.Helper()
	members, err := h.Members(longContext(t), room)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestPresence(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{})
		ann := join(t, a, "room", "ann", hub.JoinOptions{Presence: true})
		quiet := join(t, a, "room", "quiet", hub.JoinOptions{})
		expect(t, ann, "joined quiet")
		bob := join(t, b, "room", "bob", hub.JoinOptions{Presence: true})
		expect(t, ann, "joined bob")
		for _, h := range []hub.Hub{a, b} {
			if got := names(t, h, "room"); len(got) != 3 || got[0] != "ann" || got[1] != "bob" || got[2] != "quiet" {
				t.Errorf("members are %q", got)
			}
		}
		if got := names(t, b, "nowhere"); len(got) != 0 {
			t.Errorf("an empty room has %q", got)
		}
		ann.Leave()
		expect(t, bob, "left ann")
		quiet.Leave()
		expect(t, bob, "left quiet")
		expectNothing(t, bob)
		bob.Leave()
		testkit.Eventually(t, "the room is empty", func() bool { return len(names(t, a, "room")) == 0 })
	})
}

// watchers joins a member on a and one on b that receive presence events.
func watchers(t *testing.T, a, b hub.Hub) []*hub.Membership {
	t.Helper()
	watch := []*hub.Membership{
		join(t, a, "room", "watch a", hub.JoinOptions{Presence: true}),
		join(t, b, "room", "watch b", hub.JoinOptions{Presence: true}),
	}
	expect(t, watch[0], "joined watch b")
	return watch
}

// A session that moves joins on its new server before it leaves the old one, or
// long before the old server's lease expires.
func TestPresenceDoesNotFlicker(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{})
		watch := watchers(t, a, b)
		old := join(t, a, "room", "ann", hub.JoinOptions{})
		for range 10 {
			fresh := join(t, b, "room", "ann", hub.JoinOptions{})
			old.Leave()
			old = fresh
			a, b = b, a
		}
		old.Leave()
		for _, m := range watch {
			expect(t, m, "joined ann", "left ann")
			expectNothing(t, m)
		}
	})
}

// A member joins again with other data and ends its old membership. Redis may
// execute the two in either order.
func TestPresenceUpdatesData(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{})
		watch := watchers(t, a, b)
		as := func(data string) *hub.Membership {
			m, err := a.Join(longContext(t), "room", hub.Member{ID: "ann", Data: []byte(data)}, hub.JoinOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(m.Leave)
			return m
		}
		old := as("Ann")
		for _, m := range watch {
			expect(t, m, "joined ann")
		}
		as("Anna")
		old.Leave()
		for _, m := range watch {
			if e := next(t, m); e.Kind != hub.Joined || string(e.Member.Data) != "Anna" {
				t.Errorf("got %q with data %q", describe(e), e.Member.Data)
			}
			expectNothing(t, m)
		}
	})
}

package hub_test

import (
	"testing"

	"github.com/holdfast-ws/holdfast/hub"
)

func names(t testing.TB, h hub.Hub, room string) (ids []string) {
	t.Helper()
	members, err := h.Members(patiently(t), room)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestPresence(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		a, b := w.hubs(t, hub.Options{})
		ann := join(t, a, "room", "ann", hub.JoinOptions{Presence: true})
		deaf := join(t, a, "room", "deaf", hub.JoinOptions{})
		expect(t, ann, "joined deaf")
		bob := join(t, b, "room", "bob", hub.JoinOptions{Presence: true})
		expect(t, ann, "joined bob")
		for _, h := range []hub.Hub{a, b} {
			if got := names(t, h, "room"); len(got) != 3 || got[0] != "ann" || got[1] != "bob" || got[2] != "deaf" {
				t.Errorf("members are %q", got)
			}
		}
		if got := names(t, b, "nowhere"); len(got) != 0 {
			t.Errorf("an empty room has %q", got)
		}
		ann.Leave()
		expect(t, bob, "left ann")
		deaf.Leave()
		expect(t, bob, "left deaf")
		nothing(t, bob)
		bob.Leave()
		eventually(t, "the room is empty", func() bool { return len(names(t, a, "room")) == 0 })
	})
}

// watchers are members of the room on a and on b who see who comes and goes.
func watchers(t *testing.T, a, b hub.Hub) []*hub.Membership {
	t.Helper()
	watch := []*hub.Membership{
		join(t, a, "room", "watch a", hub.JoinOptions{Presence: true}),
		join(t, b, "room", "watch b", hub.JoinOptions{Presence: true}),
	}
	expect(t, watch[0], "joined watch b")
	return watch
}

// A session that moves joins on its new server before it leaves the old one,
// or long before the old one's lease runs out.
func TestPresenceDoesNotFlicker(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		a, b := w.hubs(t, hub.Options{})
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
			nothing(t, m)
		}
	})
}

// Who joins again with other data leaves the old place before or after that,
// and Redis may come to do it in either order.
func TestPresenceTellsNewData(t *testing.T) {
	everywhere(t, func(t *testing.T, w world) {
		a, b := w.hubs(t, hub.Options{})
		watch := watchers(t, a, b)
		as := func(data string) *hub.Membership {
			m, err := a.Join(patiently(t), "room", hub.Member{ID: "ann", Data: []byte(data)}, hub.JoinOptions{})
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
				t.Errorf("got %q with data %q", word(e), e.Member.Data)
			}
			nothing(t, m)
		}
	})
}

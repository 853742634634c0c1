package hub_test

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

func describeAll(events []hub.Event) (all []string) {
	for _, e := range events {
		all = append(all, describe(e))
	}
	return all
}

func TestHistoryOf(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{History: 5, Encode: func(e hub.Event) []byte { return []byte("encoded " + describe(e)) }})
		var ids []string
		for n := range 8 {
			ids = append(ids, publish(t, a, "room", strconv.Itoa(n)))
		}
		for _, c := range []struct {
			name, room, since string
			limit             int
			want              []string
		}{
			{"the last two", "room", "", 2, []string{"6", "7"}},
			{"more than there is", "room", "", 50, []string{"3", "4", "5", "6", "7"}},
			{"two of those since one", "room", ids[3], 2, []string{"4", "5"}},
			{"since the last trimmed message", "room", ids[2], 1, []string{"3"}},
			{"since an earlier trimmed message", "room", ids[1], 2, []string{"gap", "3", "4"}},
			{"since the last", "room", ids[7], 9, nil},
			{"an empty room", "nowhere", "", 9, nil},
			{"an empty room since the beginning", "nowhere", "0-0", 9, nil},
			{"an empty room since a message", "nowhere", ids[0], 9, []string{"gap"}},
		} {
			events, err := b.HistoryOf(longContext(t), c.room, c.since, c.limit)
			if got := describeAll(events); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
			}
			for _, e := range events {
				if want := "encoded " + describe(e); string(e.Encoded) != want {
					t.Errorf("%s: %s is encoded as %q", c.name, describe(e), e.Encoded)
				}
			}
		}
	})
}

// Encode may call methods of the hub.
func TestEncodeOfHistoryUsesTheHub(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		var a hub.Hub
		a, _ = k.newHubs(t, hub.Options{Encode: func(e hub.Event) []byte {
			members, err := a.Members(longContext(t), e.Room)
			if err != nil {
				t.Error(err)
			}
			return strconv.AppendInt(nil, int64(len(members)), 10)
		}})
		publish(t, a, "room", "hello")
		join(t, a, "room", "ann", hub.JoinOptions{})
		events, err := a.HistoryOf(longContext(t), "room", "", 1)
		if err != nil || len(events) != 1 || string(events[0].Encoded) != "1" {
			t.Errorf("got %v, %v", events, err)
		}
	})
}

func TestSender(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{})
		m := join(t, a, "room", "ann", hub.JoinOptions{})
		for _, sender := range []string{"bob", "", "a b\n%"} {
			if _, err := b.PublishWith(longContext(t), "room", []byte("x\ny"), hub.PublishOptions{Sender: sender}); err != nil {
				t.Fatal(err)
			}
			stored, err := a.HistoryOf(longContext(t), "room", "", 1)
			if err != nil || len(stored) != 1 {
				t.Fatalf("the history is %v, %v", stored, err)
			}
			for _, e := range []hub.Event{next(t, m), stored[0]} {
				if e.Sender != sender || string(e.Data) != "x\ny" {
					t.Errorf("the sender of %q is %q, want %q", e.Data, e.Sender, sender)
				}
			}
		}
	})
}

// An observer receives everything, but nobody sees it.
func TestObserver(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{})
		first := publish(t, a, "room", "1")
		ann := join(t, a, "room", "ann", hub.JoinOptions{Presence: true})
		observer := join(t, b, "room", "bob", hub.JoinOptions{Presence: true, Observer: true, Since: first})
		publish(t, b, "room", "2")
		expect(t, observer, "2")
		expect(t, ann, "2")
		bob := join(t, a, "room", "bob", hub.JoinOptions{})
		expect(t, ann, "joined bob")
		expect(t, observer, "joined bob")
		observer.Leave()
		observer = join(t, b, "room", "eve", hub.JoinOptions{Presence: true, Observer: true, History: 1})
		expect(t, observer, "2")
		for _, h := range []hub.Hub{a, b} {
			if got := names(t, h, "room"); !slices.Equal(got, []string{"ann", "bob"}) {
				t.Errorf("members are %q", got)
			}
		}
		bob.Leave()
		ann.Leave()
		expect(t, observer, "left bob", "left ann")
		if err := a.Notify(longContext(t), "room", nil); err != nil {
			t.Fatal(err)
		}
		expect(t, observer, "notice ")
		join(t, a, "room", "ann", hub.JoinOptions{})
		expect(t, observer, "joined ann")
		testkit.Eventually(t, "ann is the only member", func() bool {
			return slices.Equal(names(t, a, "room"), []string{"ann"}) && slices.Equal(names(t, b, "room"), []string{"ann"})
		})
	})
}

func TestNoPresence(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{NoPresence: true})
		first := publish(t, a, "room", "1")
		ann := join(t, a, "room", "ann", hub.JoinOptions{Presence: true, History: 5})
		bob := join(t, b, "room", "bob", hub.JoinOptions{Presence: true, Since: first})
		for _, h := range []hub.Hub{a, b} {
			if _, err := h.Members(longContext(t), "room"); !errors.Is(err, hub.ErrNoPresence) {
				t.Errorf("members: got %v, want ErrNoPresence", err)
			}
		}
		expect(t, ann, "1")
		publish(t, b, "room", "2")
		expect(t, bob, "2")
		bob.Leave()
		publish(t, b, "room", "3")
		expect(t, ann, "2", "3")
		expectNothing(t, ann)
	})
}

func TestOptionsOfARoom(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{History: 4, Queue: 3, Policy: hub.DropOldest,
			Room: func(room string, o hub.RoomOptions) hub.RoomOptions {
				want := hub.RoomOptions{History: 4, HistoryTTL: 24 * time.Hour, Queue: 3, Policy: hub.DropOldest}
				if o != want {
					t.Errorf("the hub's options are %+v, want %+v", o, want)
				}
				if room == "short" {
					return hub.RoomOptions{History: 2, Policy: hub.CloseSlow, NoPresence: true}
				}
				return o
			}})
		for _, c := range []struct {
			room    string
			history []string
			events  []string
		}{
			{"long", []string{"1", "2", "3", "4"}, []string{"gap", "3", "4"}},
			{"short", []string{"3", "4"}, nil},
		} {
			m := join(t, a, c.room, "ann", hub.JoinOptions{})
			for n := range 5 {
				publish(t, b, c.room, strconv.Itoa(n))
			}
			events, err := b.HistoryOf(longContext(t), c.room, "", 9)
			if got := describeAll(events); err != nil || !slices.Equal(got, c.history) {
				t.Errorf("the history of %s is %q, %v, want %q", c.room, got, err, c.history)
			}
			if c.events == nil {
				testkit.Eventually(t, "the queue is discarded", func() bool { return m.Queued() == 0 })
				if _, err := m.Next(longContext(t)); !errors.Is(err, hub.ErrSlow) {
					t.Errorf("%s: got %v, want ErrSlow", c.room, err)
				}
				continue
			}
			testkit.Eventually(t, "the newest is queued", func() bool { return m.Newest() == "4" })
			expect(t, m, c.events...)
		}
	})
}

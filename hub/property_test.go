package hub

import (
	"context"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Messages may arrive late, twice or in batches, and be read slowly. A member
// still gets each at most once and in order, and if some are missing it gets a Gap
// before the next.
func TestMembershipDelivers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := RoomOptions{Queue: rapid.IntRange(2, 6).Draw(t, "queue"), Policy: rapid.SampledFrom([]Policy{CloseSlow, DropOldest}).Draw(t, "policy")}
		message := func(n int) *event {
			return newMessage("room", id{uint64(n), 0}, id{uint64(n - 1), 0}, "", nil)
		}
		m := newMembership("room", Member{ID: "ann"}, o, JoinOptions{}, &counters{}, func(*Membership) {})
		// The member was attached after message attached was delivered, and the
		// history was read when message newest was the last in the stream.
		since := rapid.IntRange(0, 5).Draw(t, "since")
		attached := since + rapid.IntRange(0, 5).Draw(t, "attached")
		newest := attached + rapid.IntRange(0, 5).Draw(t, "newest")
		live := attached
		for range rapid.IntRange(0, min(o.Queue, newest-attached)).Draw(t, "before the history") {
			live++
			if rapid.Bool().Draw(t, "caught up") {
				m.catchUp([]*event{message(live)})
			} else {
				m.push(message(live))
			}
		}
		var history []*event
		for n := since + 1; n <= newest; n++ {
			history = append(history, message(n))
		}
		m.start(historyRequest{hasSince: true, since: id{uint64(since), 0}}.page(history, id{uint64(newest), 0}))

		last, gap := since, false
		read := func() {
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			e, err := m.Next(ended)
			switch {
			case err == ErrSlow && o.Policy != CloseSlow:
				t.Fatal("ended with ErrSlow, but the policy isn't CloseSlow")
			case err != nil:
			case e.Kind == Gap:
				gap = true
			case e.Kind == Message:
				i, _ := parseID(e.ID)
				if n := int(i.ms); n <= last || n > last+1 && !gap {
					t.Fatalf("message %d comes after %d, gap: %v", n, last, gap)
				}
				last, gap = int(i.ms), false
				if m.Last() != e.ID {
					t.Fatalf("the position is %s after %s", m.Last(), e.ID)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(*rapid.T) {
				live++
				m.push(message(live))
			},
			"catch up": func(t *rapid.T) {
				var events []*event
				for range rapid.IntRange(1, 9).Draw(t, "messages") {
					live++
					events = append(events, message(live))
				}
				m.catchUp(events)
			},
			"read": func(*rapid.T) { read() },
		})
		for m.Queued() > 0 {
			read()
		}
		if m.err == nil && last < live && !gap {
			t.Fatalf("everything is read, and the last message is %d of %d", last, live)
		}
	})
}

// Applying all Joined and Left events yields who is present and their data.
func TestPresenceEventsAreComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p presence
		entries := map[string]Member{}
		known := map[string]string{}
		join := func(m Member) {
			if data, ok := known[m.ID]; ok && data == string(m.Data) {
				t.Fatalf("%s joined again", m.ID)
			}
			known[m.ID] = string(m.Data)
		}
		leave := func(m Member) {
			if _, ok := known[m.ID]; !ok {
				t.Fatalf("%s left but wasn't present", m.ID)
			}
			delete(known, m.ID)
		}
		entry := rapid.SampledFrom([]string{"a/1", "a/2", "b/1", "b/2", "c/1"})
		member := rapid.Custom(func(t *rapid.T) Member {
			return Member{
				ID:   rapid.SampledFrom([]string{"ann", "bob", "eve"}).Draw(t, "id"),
				Data: []byte(rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "data")),
			}
		})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				e, m := entry.Draw(t, "entry"), member.Draw(t, "member")
				if p.add(e, m) {
					join(m)
				}
				if _, ok := entries[e]; !ok {
					entries[e] = m
				}
			},
			"remove": func(t *rapid.T) {
				e := entry.Draw(t, "entry")
				switch m, news := p.remove(e); news {
				case Left:
					leave(m)
				case Joined:
					join(m)
				}
				delete(entries, e)
			},
			"replace": func(t *rapid.T) {
				entries = rapid.MapOf(entry, member).Draw(t, "entries")
				joined, left := p.replace(maps.Clone(entries))
				for _, m := range left {
					leave(m)
				}
				for _, m := range joined {
					join(m)
				}
			},
			"": func(t *rapid.T) {
				want := map[string]string{}
				for _, entry := range slices.Backward(slices.Sorted(maps.Keys(entries))) {
					m := entries[entry]
					want[m.ID] = string(m.Data)
				}
				if !maps.Equal(known, want) {
					t.Fatalf("known are %v, present are %v", known, want)
				}
				var ids []string
				for _, m := range p.list() {
					ids = append(ids, m.ID)
					if string(m.Data) != want[m.ID] {
						t.Fatalf("%s has data %q in the list, want %q", m.ID, m.Data, want[m.ID])
					}
				}
				if !slices.Equal(ids, slices.Sorted(maps.Keys(want))) {
					t.Fatalf("the list is %v, present are %v", ids, want)
				}
			},
		})
	})
}

package hub

import (
	"context"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// fakePager is the history of a room and what a membership has asked for.
type fakePager struct {
	newest  int  // the messages have the numbers 1 to newest
	trimmed int  // those up to this one are no longer in the history
	asked   bool // for a page
	read    *historyPage
}

func numbered(n int) *event {
	return newMessage("room", id{uint64(n), 0}, id{uint64(n - 1), 0}, "", nil)
}

func (p *fakePager) readMore(*Membership) { p.asked = true }

// page reads at most limit messages.
func (p *fakePager) page(r historyRequest, limit int) historyPage {
	var events []*event
	for n := max(int(r.since.ms), p.trimmed) + 1; n <= p.newest && len(events) < limit; n++ {
		events = append(events, numbered(n))
	}
	return r.page(events, id{uint64(p.newest), 0})
}

// Messages may arrive late, twice or in batches, be read slowly, and be trimmed from
// the history before that. A member still gets each at most once and in order, and if
// some are missing it gets a Gap before the next. What it holds of the history is
// limited.
func TestMembershipDelivers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := RoomOptions{Queue: rapid.IntRange(2, 6).Draw(t, "queue"), Policy: rapid.SampledFrom([]Policy{CloseSlow, DropOldest}).Draw(t, "policy")}
		pageSize := rapid.IntRange(1, 5).Draw(t, "page")
		since := rapid.IntRange(0, 5).Draw(t, "since")
		history := &fakePager{newest: since + rapid.IntRange(0, 9).Draw(t, "newest")}
		pushed := rapid.IntRange(since, history.newest).Draw(t, "pushed") // the last message delivered to the room
		m := newMembership("room", Member{ID: "ann"}, &o, JoinOptions{}, &counters{}, func(*Membership) {})
		m.pager = history
		m.recovery = recovery{more: true, reading: true}
		request := historyRequest{hasSince: true, since: id{uint64(since), 0}, count: maxCount}
		history.asked = true

		started, last, gap := false, since, false
		push := func() {
			if pushed < history.newest {
				pushed++
				m.push(numbered(pushed))
			}
		}
		readPage := func() {
			if history.asked && history.read == nil {
				p := history.page(request, pageSize)
				history.read = &p
			}
		}
		addPage := func() {
			if history.read == nil {
				return
			}
			p := *history.read
			history.asked, history.read = false, nil
			if started {
				m.addPage(p)
			} else {
				m.start(p)
				started = true
			}
		}
		read := func() {
			if !started {
				return
			}
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
			if history.asked {
				request, _ = m.pageRequest()
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) { history.newest += rapid.IntRange(1, 9).Draw(t, "messages") },
			"push":    func(*rapid.T) { push() },
			"catch up": func(t *rapid.T) {
				r := historyRequest{hasSince: true, since: id{uint64(pushed), 0}}
				p := history.page(r, pageSize)
				pushed = history.newest
				events := p.events
				if p.missing {
					events = append([]*event{newGap(m.room)}, events...)
				}
				if len(events) > 0 {
					m.catchUp(events, p.more())
				}
			},
			"trim":      func(t *rapid.T) { history.trimmed = rapid.IntRange(history.trimmed, history.newest).Draw(t, "to") },
			"read page": func(*rapid.T) { readPage() },
			"add page":  func(*rapid.T) { addPage() },
			"read":      func(*rapid.T) { read() },
			"": func(t *rapid.T) {
				if n, limit := m.Queued(), pageSize+2+2*o.Queue; n > limit {
					t.Fatalf("%d events are queued, want at most %d", n, limit)
				}
			},
		})
		for pushed < history.newest {
			push()
		}
		for range 2 * (history.newest + 10) {
			readPage()
			addPage()
			read()
		}
		if m.err == nil && last < history.newest && !gap {
			t.Fatalf("everything is read, and the last message is %d of %d", last, history.newest)
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

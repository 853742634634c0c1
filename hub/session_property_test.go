package hub

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// A session returns the events of each room in order and exactly once. A room that
// has events waits for at most one event of each other room.
func TestSessionDelivers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const slow = "slow"
		h := Memory(Options{Queue: 3})
		defer h.Close()
		ctx := context.Background()
		s := NewSession(h, Member{ID: "ann"}, SessionOptions{})
		defer s.Close()
		waiting := map[string][]string{} // what Next must return, by room; "" is for Direct events
		served := map[string][]string{}  // the rooms of events returned since this room waits
		ended := false
		count := 0
		room := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		enqueue := func(room, what string) {
			if len(waiting[room]) == 0 {
				served[room] = nil
			}
			waiting[room] = append(waiting[room], what)
		}
		// deliver models the queue of a room.
		deliver := func(room string, kind Kind) {
			count++
			switch queued := waiting[room]; {
			case slices.Contains(queued, slow):
			case len(queued)-len(filter(queued, Entered.String())) == 3:
				waiting[room] = slices.DeleteFunc(queued, func(what string) bool { return what != Entered.String() })
				waiting[room] = append(waiting[room], slow)
			default:
				enqueue(room, kind.String()+strconv.Itoa(count))
			}
		}
		read := func(t *rapid.T) {
			canceled, cancel := context.WithCancel(ctx)
			cancel()
			e, err := s.Next(canceled)
			what := e.Kind.String() + string(e.Data)
			from := e.Room
			var roomError *RoomError
			switch {
			case errors.Is(err, context.Canceled):
				for room, events := range waiting {
					if len(events) > 0 {
						t.Fatalf("nothing is returned, but %q has %q", room, events)
					}
				}
				return
			case errors.As(err, &roomError):
				what, from = slow, roomError.Room
			case errors.Is(err, ErrSlow):
				what, ended = slow, true
			case err != nil:
				t.Fatal(err)
			}
			if len(waiting[from]) == 0 || waiting[from][0] != what {
				t.Fatalf("room %q returns %q, want the first of %q", from, what, waiting[from])
			}
			waiting[from] = waiting[from][1:]
			served[from] = nil
			for room, events := range waiting {
				if room == from || len(events) == 0 {
					continue
				}
				if slices.Contains(served[room], from) {
					t.Fatalf("room %q comes again while %q waits", from, room)
				}
				served[room] = append(served[room], from)
			}
			if what == slow {
				delete(waiting, from)
			}
		}
		in := func(room string) bool {
			return slices.Contains(s.Rooms(), room) && !slices.Contains(waiting[room], slow)
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				room := room.Draw(t, "room")
				was := slices.Contains(s.Rooms(), room)
				switch err := s.Join(ctx, room, JoinOptions{}); {
				case ended && !errors.Is(err, ErrSlow), !ended && was != errors.Is(err, ErrJoined), !ended && !was && err != nil:
					t.Fatalf("joining %q: %v", room, err)
				case err == nil:
					enqueue(room, Entered.String())
				}
			},
			"leave": func(t *rapid.T) {
				room := room.Draw(t, "room")
				s.Leave(room)
				delete(waiting, room)
			},
			"publish": func(t *rapid.T) {
				room := room.Draw(t, "room")
				if in(room) {
					deliver(room, Message)
				}
				if _, err := h.Publish(ctx, room, []byte(strconv.Itoa(count))); err != nil {
					t.Fatal(err)
				}
			},
			"send": func(t *rapid.T) {
				if !ended {
					deliver("", Direct)
				}
				if err := h.SendTo(ctx, "ann", []byte(strconv.Itoa(count))); err != nil {
					t.Fatal(err)
				}
			},
			"read": func(t *rapid.T) {
				if !ended {
					read(t)
				}
				if ended {
					clear(waiting)
				}
			},
		})
		for range 100 {
			if !ended {
				read(t)
			}
		}
		s.Close()
		if len(s.Rooms()) != 0 || h.Stats().Memberships != 0 || h.Stats().Sessions != 0 {
			t.Fatalf("after Close, rooms %q, %+v", s.Rooms(), h.Stats())
		}
	})
}

func filter(list []string, what string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s != what })
}

// Entries of users are added and removed in any order.
func TestUsers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var u users
		var entries []*user
		listed := map[*user]bool{}
		for i := range 8 {
			entries = append(entries, &user{id: string(rune('a' + i%3)), receiver: &Membership{room: strconv.Itoa(i)}})
		}
		entry := rapid.SampledFrom(entries)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				if e := entry.Draw(t, "entry"); !listed[e] {
					listed[e] = u.add(e)
				}
			},
			"remove": func(t *rapid.T) {
				e := entry.Draw(t, "entry")
				if u.remove(e) != listed[e] {
					t.Fatal("remove reports whether the entry was listed")
				}
				delete(listed, e)
			},
			"": func(t *rapid.T) {
				for _, id := range []string{"a", "b", "c"} {
					found := u.find(id)
					want := 0
					for e := range listed {
						if e.id == id {
							want++
							if !slices.Contains(found, e.receiver) {
								t.Fatalf("%s isn't found", e.receiver.(*Membership).room)
							}
						}
					}
					if len(found) != want {
						t.Fatalf("%d receivers of %q, want %d", len(found), id, want)
					}
				}
				if len(listed) == 0 && len(u.byID) != 0 {
					t.Fatal("empty lists remain")
				}
			},
		})
	})
}

func FuzzUserPayload(f *testing.F) {
	for _, s := range []string{
		"d SERVER ann\nhello\nworld", "d SERVER ann%20b%00\n", "x SERVER ann 4003\nbanned", "x SERVER ann 1000\n",
		"", "\n", "d\n", "d SERVER ann", "d SERVER \nhello", "d  ann\nhello", "d SERVER ann 1\nhello", "d SERVER %zz\n",
		"x SERVER ann\nbanned", "x SERVER ann 1006\n", "x SERVER ann -1\n", "x SERVER ann 99999999999999999999\n",
		"x SERVER ann 4000\n\xff", "dd SERVER ann\n", "y SERVER ann\n", " SERVER ann\n", "x SERVER ann 04000\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseUserPayload(s)
		if err != nil {
			return
		}
		if again, err := parseUserPayload(p.String()); err != nil || again != p {
			t.Fatalf("%+v is parsed after formatting as %+v, %v", p, again, err)
		}
		switch p.kind {
		case 'd':
			err = Options{MaxData: len(p.text)}.checkSendTo(p.member, []byte(p.text))
		case 'x':
			err = checkDisconnect(p.member, p.code, p.text)
		default:
			t.Fatalf("kind %q", p.kind)
		}
		if err != nil {
			t.Fatalf("%q is accepted, but can't be published: %v", s, err)
		}
	})
}

package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

func newSession(t testing.TB, h hub.Hub, name string) *hub.Session {
	s := hub.NewSession(h, hub.Member{ID: name}, hub.SessionOptions{})
	t.Cleanup(s.Close)
	return s
}

func enter(t testing.TB, s *hub.Session, room string, o hub.JoinOptions) {
	t.Helper()
	if err := s.Join(longContext(t), room, o); err != nil {
		t.Fatalf("joining %q: %v", room, err)
	}
}

// describeWithRoom returns the room, if any, and what describe returns.
func describeWithRoom(e hub.Event) string {
	if e.Room == "" {
		return describe(e)
	}
	return e.Room + ": " + describe(e)
}

// expectAll reads len(want) events of a session. Only the order within a room counts.
func expectAll(t testing.TB, s *hub.Session, want ...string) {
	t.Helper()
	byRoom := func(events []string) map[string][]string {
		m := map[string][]string{}
		for _, e := range events {
			room, _, _ := strings.Cut(e, ": ")
			m[room] = append(m[room], e)
		}
		return m
	}
	var got []string
	for range want {
		e, err := s.Next(longContext(t))
		if err != nil {
			t.Fatalf("next after %q: %v", got, err)
		}
		got = append(got, describeWithRoom(e))
	}
	if a, b := byRoom(got), byRoom(want); fmt.Sprint(a) != fmt.Sprint(b) {
		t.Fatalf("events are\n %q, want\n %q", a, b)
	}
}

func expectNoEvent(t testing.TB, s *hub.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if e, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %q, %v, want nothing", describeWithRoom(e), err)
	}
}

func TestSessionInManyRooms(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{})
		last := publish(t, a, "one", "old")
		publish(t, a, "one", "missed")
		s := newSession(t, a, "ann")
		enter(t, s, "one", hub.JoinOptions{Since: last, Presence: true})
		enter(t, s, "two", hub.JoinOptions{})
		enter(t, s, "three", hub.JoinOptions{})
		if err := s.Join(longContext(t), "two", hub.JoinOptions{}); !errors.Is(err, hub.ErrJoined) {
			t.Errorf("joining again: %v", err)
		}
		if got := s.Rooms(); !slices.Equal(got, []string{"one", "three", "two"}) {
			t.Errorf("the rooms are %q", got)
		}
		expectAll(t, s, "one: entered", "one: missed", "two: entered", "three: entered")
		bob := join(t, b, "one", "bob", hub.JoinOptions{})
		for n := range 5 {
			for _, room := range []string{"one", "two"} {
				last = publish(t, b, room, strconv.Itoa(n))
			}
		}
		expectAll(t, s, "one: joined bob", "one: 0", "one: 1", "one: 2", "one: 3", "one: 4",
			"two: 0", "two: 1", "two: 2", "two: 3", "two: 4")
		if s.Last("two") != last {
			t.Errorf("the position in room two is %s, want %s", s.Last("two"), last)
		}
		expect(t, bob, "0", "1", "2", "3", "4")

		s.Leave("one")
		s.Leave("one")
		publish(t, b, "one", "5")
		publish(t, b, "two", "5")
		expectAll(t, s, "two: 5")
		expectNoEvent(t, s)
		if s.Last("one") != "" || len(s.Rooms()) != 2 {
			t.Errorf("after Leave: position %q, rooms %q", s.Last("one"), s.Rooms())
		}
		enter(t, s, "one", hub.JoinOptions{History: 2})
		expectAll(t, s, "one: entered", "one: 4", "one: 5")
		s.Close()
		s.Close()
		if _, err := s.Next(longContext(t)); !errors.Is(err, hub.ErrLeft) {
			t.Errorf("after Close: %v", err)
		}
		if err := s.Join(longContext(t), "one", hub.JoinOptions{}); !errors.Is(err, hub.ErrLeft) {
			t.Errorf("joining after Close: %v", err)
		}
		testkit.Eventually(t, "ann has left", func() bool {
			members, err := b.Members(longContext(t), "one")
			return err == nil && len(members) == 1
		})
	})
}

// What is queued in a room doesn't delay the others, and isn't reordered.
func TestBusyRoomDoesNotDelayOthers(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, _ := k.newHubs(t, hub.Options{})
		s := newSession(t, a, "ann")
		for _, room := range []string{"busy", "quiet", "also quiet"} {
			enter(t, s, room, hub.JoinOptions{})
		}
		expectAll(t, s, "busy: entered", "quiet: entered", "also quiet: entered")
		control := join(t, a, "busy", "bob", hub.JoinOptions{})
		quiet := join(t, a, "quiet", "bob", hub.JoinOptions{})
		alsoQuiet := join(t, a, "also quiet", "bob", hub.JoinOptions{})
		const many = 100
		for n := range many {
			publish(t, a, "busy", strconv.Itoa(n))
			expect(t, control, strconv.Itoa(n))
		}
		publish(t, a, "quiet", "hello")
		publish(t, a, "also quiet", "hello")
		expect(t, quiet, "hello")
		expect(t, alsoQuiet, "hello")
		testkit.Eventually(t, "all is queued", func() bool { return s.Queued() == many+2 })
		expectAll(t, s, "busy: 0", "quiet: hello", "also quiet: hello")
		for n := 1; n < many; n++ {
			expectAll(t, s, "busy: "+strconv.Itoa(n))
		}
	})
}

func TestSlowRoomOfSession(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{Queue: 4})
		s := newSession(t, a, "ann")
		enter(t, s, "busy", hub.JoinOptions{})
		enter(t, s, "quiet", hub.JoinOptions{})
		expectAll(t, s, "busy: entered", "quiet: entered")
		first := publish(t, b, "busy", "0")
		expectAll(t, s, "busy: 0")
		publish(t, b, "quiet", "hello")
		for n := 1; n < 6; n++ {
			publish(t, b, "busy", strconv.Itoa(n))
		}
		testkit.Eventually(t, "the busy room has overflowed", func() bool { return a.Stats().Slow == 1 })
		var hello, slow bool
		for range 2 {
			e, err := s.Next(longContext(t))
			var ended *hub.RoomError
			switch {
			case errors.As(err, &ended):
				slow = true
				if ended.Room != "busy" || ended.Last != first || !errors.Is(err, hub.ErrSlow) {
					t.Errorf("%#v, want room busy at %s", ended, first)
				}
				if code, reason := hub.CloseStatus(err); code != 1013 || reason != "too slow" {
					t.Errorf("it closes with %d %q", code, reason)
				}
				if got := s.Rooms(); !slices.Equal(got, []string{"quiet"}) {
					t.Errorf("the session is in %q", got)
				}
				enter(t, s, "busy", hub.JoinOptions{Since: ended.Last})
			case err != nil:
				t.Fatal(err)
			default:
				hello = describeWithRoom(e) == "quiet: hello"
			}
		}
		if !hello || !slow {
			t.Errorf("message in the other room: %v, error of the busy room: %v", hello, slow)
		}
		expectAll(t, s, "busy: entered", "busy: 1", "busy: 2", "busy: 3", "busy: 4", "busy: 5")
		expectNoEvent(t, s)
	})
}

func TestSlowRoomOfSessionDropsOldest(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{Queue: 3, Policy: hub.DropOldest})
		s := newSession(t, a, "ann")
		enter(t, s, "busy", hub.JoinOptions{})
		enter(t, s, "quiet", hub.JoinOptions{})
		expectAll(t, s, "busy: entered", "quiet: entered")
		publish(t, b, "quiet", "hello")
		for n := range 6 {
			publish(t, b, "busy", strconv.Itoa(n))
		}
		testkit.Eventually(t, "all is queued", func() bool { return a.Stats().Dropped == 4 })
		expectAll(t, s, "busy: gap", "busy: 4", "busy: 5", "quiet: hello")
	})
}

func TestSessionLimits(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, _ := k.newHubs(t, hub.Options{})
		s := hub.NewSession(a, hub.Member{ID: "ann"}, hub.SessionOptions{MaxRooms: 2})
		defer s.Close()
		for i, want := range []error{nil, nil, hub.ErrTooManyRooms} {
			if err := s.Join(longContext(t), strconv.Itoa(i), hub.JoinOptions{}); !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("room %d: %v, want %v", i, err, want)
			}
		}
		s.Leave("0")
		// A Join that fails takes no place.
		if err := s.Join(longContext(t), "", hub.JoinOptions{}); !errors.Is(err, hub.ErrInvalid) {
			t.Errorf("no name: %v", err)
		}
		enter(t, s, "2", hub.JoinOptions{})

		nobody := hub.NewSession(a, hub.Member{}, hub.SessionOptions{})
		defer nobody.Close()
		if _, err := nobody.Next(longContext(t)); !errors.Is(err, hub.ErrInvalid) {
			t.Errorf("next without a member ID: %v", err)
		}
		if err := nobody.Join(longContext(t), "room", hub.JoinOptions{}); !errors.Is(err, hub.ErrInvalid) {
			t.Errorf("join without a member ID: %v", err)
		}
	})
}

func TestSessionOfClosedHub(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, _ := k.newHubs(t, hub.Options{})
		s, idle := newSession(t, a, "ann"), newSession(t, a, "bob")
		waiting := make(chan error, 1)
		go func() {
			_, err := idle.Next(longContext(t))
			waiting <- err
		}()
		enter(t, s, "one", hub.JoinOptions{})
		enter(t, s, "two", hub.JoinOptions{})
		publish(t, a, "one", "1")
		publish(t, a, "two", "2")
		testkit.Eventually(t, "the messages are queued", func() bool { return s.Queued() == 2 })
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		expectAll(t, s, "one: entered", "one: 1", "two: entered", "two: 2")
		_, err := s.Next(longContext(t))
		joining := s.Join(longContext(t), "three", hub.JoinOptions{})
		_, late := newSession(t, a, "eve").Next(longContext(t))
		for _, err := range []error{err, <-waiting, joining, late} {
			if !errors.Is(err, hub.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		}
	})
}

// Sessions join, leave, receive and end while others publish and send to them.
func TestSessionsConcurrently(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{Queue: 1000})
		const rooms, each = 4, 50
		var publishing, working sync.WaitGroup
		for i, h := range []hub.Hub{a, b} {
			for n := range 3 {
				s := newSession(t, h, "user "+strconv.Itoa(n))
				working.Go(func() {
					for round := range 10 {
						room := strconv.Itoa((round + i) % rooms)
						enter(t, s, room, hub.JoinOptions{History: 10})
						s.Rooms()
						s.Last(room)
						s.Leave(strconv.Itoa((round + i + 2) % rooms))
						s.Leave(room)
					}
					s.Close()
				})
				working.Go(func() {
					last := map[string]int{}
					for {
						e, err := s.Next(longContext(t))
						switch {
						case errors.Is(err, hub.ErrLeft):
							return
						case err != nil:
							t.Error(err)
							return
						case e.Kind == hub.Entered:
							delete(last, e.Room)
						case e.Kind == hub.Message:
							n, _ := strconv.Atoi(string(e.Data))
							if before, ok := last[e.Room]; ok && n != before+1 {
								t.Errorf("room %s: %d after %d", e.Room, n, before)
							}
							last[e.Room] = n
						}
					}
				})
			}
		}
		for room := range rooms {
			publishing.Go(func() {
				for n := range each {
					publish(t, a, strconv.Itoa(room), strconv.Itoa(n))
				}
			})
		}
		publishing.Go(func() {
			for range each {
				if err := b.SendTo(longContext(t), "user 1", []byte("hello")); err != nil {
					t.Error(err)
				}
			}
		})
		publishing.Wait()
		working.Wait()
	})
}

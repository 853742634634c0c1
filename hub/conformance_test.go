package hub_test

import (
	"bytes"
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

func TestMessagesReachAllServersInOneOrder(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{})
		ann := join(t, a, "room", "ann", hub.JoinOptions{})
		bob := join(t, b, "room", "bob", hub.JoinOptions{})
		other := join(t, b, "another room", "bob", hub.JoinOptions{})

		const each = 100
		var wg sync.WaitGroup
		for i, h := range []hub.Hub{a, b} {
			wg.Go(func() {
				for n := range each {
					publish(t, h, "room", fmt.Sprintf("%d/%d", i, n))
				}
			})
		}
		wg.Wait()
		var first []hub.Event
		for range 2 * each {
			first = append(first, next(t, ann))
		}
		for _, want := range first {
			got := next(t, bob)
			if got.ID != want.ID || !bytes.Equal(got.Data, want.Data) {
				t.Fatalf("bob has %s %q but ann has %s %q", got.ID, got.Data, want.ID, want.Data)
			}
		}
		for i := range 2 {
			var mine []string
			for _, e := range first {
				if s := describe(e); strings.HasPrefix(s, strconv.Itoa(i)) {
					mine = append(mine, s)
				}
			}
			for n, s := range mine {
				if s != fmt.Sprintf("%d/%d", i, n) {
					t.Fatalf("publisher %d's message %d is %q", i, n, s)
				}
			}
		}
		if age := time.Since(first[0].Time()); age < -time.Minute || age > time.Minute {
			t.Errorf("the first message is %v old", age)
		}
		expectNothing(t, other)
	})
}

func TestHistory(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{History: 5})
		for _, c := range []struct {
			name    string
			since   int // index of the message, -1 for none
			literal string
			history int
			want    []string
		}{
			{"no history", -1, "", 0, nil},
			{"the last two", -1, "", 2, []string{"6", "7"}},
			{"more than there is", -1, "", 50, []string{"3", "4", "5", "6", "7"}},
			{"since the last", 7, "", 0, nil},
			{"since one of them", 5, "", 4, []string{"6", "7"}},
			{"since the last trimmed message", 2, "", 0, []string{"3", "4", "5", "6", "7"}},
			{"since an earlier trimmed message", 1, "", 0, []string{"gap", "3", "4", "5", "6", "7"}},
			{"since the beginning", -1, "0-0", 0, []string{"gap", "3", "4", "5", "6", "7"}},
			{"since a message that never existed", -1, "9999999999999-0", 0, []string{"gap"}},
			{"since the largest ID", -1, "9223372036854775807-9223372036854775807", 0, []string{"gap"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				var ids []string
				for n := range 8 {
					ids = append(ids, publish(t, a, c.name, strconv.Itoa(n)))
				}
				since := c.literal
				if c.since >= 0 {
					since = ids[c.since]
				}
				m := join(t, b, c.name, "ann", hub.JoinOptions{Since: since, History: c.history})
				expect(t, m, c.want...)
				if m.Last() != ids[7] {
					t.Errorf("the membership is at %s, want %s", m.Last(), ids[7])
				}
				publish(t, a, c.name, "live")
				expect(t, m, "live")
				expectNothing(t, m)
			})
		}
	})
}

// Last also works in a room without a history: nothing after it is missed.
func TestSinceBeforeTheFirstMessage(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{})
		m := join(t, a, "room", "ann", hub.JoinOptions{History: 50})
		since := m.Last()
		m.Leave()
		publish(t, a, "room", "1")
		publish(t, a, "room", "2")
		m = join(t, b, "room", "ann", hub.JoinOptions{Since: since, History: 1})
		if m.Last() != since {
			t.Errorf("nothing was read and the position is %s, want %s", m.Last(), since)
		}
		expect(t, m, "1", "2")
	})
}

// Members join and leave while messages are published. Between the history and
// the live messages, nothing is missing or duplicated.
func TestTransitionFromHistoryToLive(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{History: 10_000, Queue: 10_000})
		hubs := []hub.Hub{a, b}
		start := join(t, a, "room", "start", hub.JoinOptions{}).Last()
		const publishers, each = 2, 400
		var publishing, reading sync.WaitGroup
		for p := range publishers {
			publishing.Go(func() {
				for n := range each {
					publish(t, hubs[p], "room", fmt.Sprintf("%d/%d", p, n))
				}
			})
		}
		got := make([][]string, 8)
		for i := range got {
			reading.Go(func() {
				since := start
				for round := 0; len(got[i]) < publishers*each; round++ {
					m := join(t, hubs[(i+round)%2], "room", strconv.Itoa(i), hub.JoinOptions{Since: since})
					for range 1 + (i*7+round*13)%40 {
						if len(got[i]) == publishers*each {
							break
						}
						got[i] = append(got[i], describe(next(t, m)))
					}
					since = m.Last()
					m.Leave()
				}
			})
		}
		publishing.Wait()
		reading.Wait()
		for i := range got {
			if !slices.Equal(got[i], got[0]) {
				t.Fatalf("members 0 and %d differ:\n%q\n%q", i, got[0], got[i])
			}
		}
		seen := map[string]bool{}
		for _, s := range got[0] {
			if seen[s] {
				t.Fatalf("%s came twice", s)
			}
			seen[s] = true
		}
	})
}

func TestPublishWithKey(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{History: 3})
		m := join(t, a, "room", "ann", hub.JoinOptions{})
		once := func(h hub.Hub, key, data string) string {
			id, err := h.PublishWith(longContext(t), "room", []byte(data), hub.PublishOptions{Key: key})
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		first := once(a, "k1", "1")
		if again := once(b, "k1", "changed"); again != first {
			t.Errorf("the same key has the IDs %s and %s", first, again)
		}
		if other := once(b, "k2", "2"); other == first {
			t.Errorf("another key has the same ID")
		}
		expect(t, m, "1", "2")
		publish(t, a, "room", "3")
		publish(t, a, "room", "4")
		once(a, "k2", "2")
		once(b, "k1", "1, no longer in the history")
		expect(t, m, "3", "4", "1, no longer in the history")
	})
}

func TestNoticesAreNotKept(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{})
		m := join(t, a, "room", "ann", hub.JoinOptions{})
		if err := b.Notify(longContext(t), "room", []byte("typing\n\x00")); err != nil {
			t.Fatal(err)
		}
		expect(t, m, "notice typing\n\x00")
		publish(t, b, "room", "1")
		expect(t, m, "1")
		expect(t, join(t, b, "room", "bob", hub.JoinOptions{Since: "0-0"}), "1")
	})
}

func TestAnyBytes(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{})
		var all []byte
		for c := range 256 {
			all = append(all, byte(c))
		}
		for _, name := range []string{string(all), "}", "{}", "\n", " ", "a/b%2Fc", "*"} {
			m := hub.Member{ID: name, Data: all}
			mine, err := a.Join(longContext(t), name, m, hub.JoinOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer mine.Leave()
			o := hub.PublishOptions{Key: name, Sender: name}
			if id, err := b.PublishWith(longContext(t), name, all, o); err != nil {
				t.Fatalf("%s, %v", id, err)
			}
			if e := next(t, mine); e.Room != name || e.Sender != name || !bytes.Equal(e.Data, all) {
				t.Errorf("room %q: got %+v", name, e)
			}
			got, err := b.Members(longContext(t), name)
			if err != nil || len(got) != 1 || got[0].ID != name || !bytes.Equal(got[0].Data, all) {
				t.Errorf("room %q has %q, %v", name, got, err)
			}
			if e := next(t, join(t, b, name, "x", hub.JoinOptions{History: 1})); e.Sender != name || !bytes.Equal(e.Data, all) {
				t.Errorf("room %q: history has %q", name, e.Data)
			}
		}
	})
}

func TestBounds(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, _ := k.newHubs(t, hub.Options{MaxData: 10, MaxRooms: 1})
		long := strings.Repeat("x", 257)
		ctx := longContext(t)
		tryJoin := func(room string, m hub.Member, o hub.JoinOptions) error {
			_, err := a.Join(ctx, room, m, o)
			return err
		}
		_, largeMessage := a.Publish(ctx, "room", make([]byte, 11))
		_, noRoom := a.Publish(ctx, "", nil)
		_, longKey := a.PublishWith(ctx, "room", nil, hub.PublishOptions{Key: long})
		_, longSender := a.PublishWith(ctx, "room", nil, hub.PublishOptions{Sender: long})
		_, noLimit := a.HistoryOf(ctx, "room", "", 0)
		_, badSince := a.HistoryOf(ctx, "room", "$", 1)
		_, noMembers := a.Members(ctx, "")
		join(t, a, "room", "ann", hub.JoinOptions{})
		for name, c := range map[string]struct{ err, want error }{
			"message":             {largeMessage, hub.ErrTooLarge},
			"notice":              {a.Notify(ctx, "room", make([]byte, 11)), hub.ErrTooLarge},
			"publish to no room":  {noRoom, hub.ErrInvalid},
			"long key":            {longKey, hub.ErrTooLarge},
			"long sender":         {longSender, hub.ErrTooLarge},
			"no limit":            {noLimit, hub.ErrInvalid},
			"history since a $":   {badSince, hub.ErrInvalid},
			"members of no room":  {noMembers, hub.ErrInvalid},
			"notify no room":      {a.Notify(ctx, "", nil), hub.ErrInvalid},
			"join no room":        {tryJoin("", hub.Member{ID: "ann"}, hub.JoinOptions{}), hub.ErrInvalid},
			"join a long room":    {tryJoin(long, hub.Member{ID: "ann"}, hub.JoinOptions{}), hub.ErrTooLarge},
			"no member ID":        {tryJoin("room", hub.Member{}, hub.JoinOptions{}), hub.ErrInvalid},
			"long member":         {tryJoin("room", hub.Member{ID: long}, hub.JoinOptions{}), hub.ErrTooLarge},
			"large member":        {tryJoin("room", hub.Member{ID: "ann", Data: make([]byte, 1025)}, hub.JoinOptions{}), hub.ErrTooLarge},
			"since a word":        {tryJoin("room", hub.Member{ID: "ann"}, hub.JoinOptions{Since: "+"}), hub.ErrInvalid},
			"one room too many":   {tryJoin("room 2", hub.Member{ID: "ann"}, hub.JoinOptions{}), hub.ErrFull},
			"the same room again": {tryJoin("room", hub.Member{ID: "bob"}, hub.JoinOptions{}), nil},
		} {
			if !errors.Is(c.err, c.want) || c.want == nil && c.err != nil {
				t.Errorf("%s: got %v, want %v", name, c.err, c.want)
			}
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := a.Join(ended, "room", hub.Member{ID: "ann"}, hub.JoinOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("join with a context that has ended: %v", err)
		}
	})
}

func TestSlowMemberIsClosed(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{Queue: 4, History: 10})
		publish(t, a, "room", "history")
		slow := join(t, a, "room", "slow", hub.JoinOptions{History: 1})
		quick := join(t, a, "room", "quick", hub.JoinOptions{})
		for n := range 5 {
			publish(t, b, "room", strconv.Itoa(n))
			expect(t, quick, strconv.Itoa(n))
		}
		// slow may get the message after quick does.
		testkit.Eventually(t, "the queue is discarded", func() bool { return slow.Queued() == 0 })
		_, err := slow.Next(longContext(t))
		if !errors.Is(err, hub.ErrSlow) {
			t.Fatalf("got %v, want ErrSlow", err)
		}
		if code, _ := hub.CloseStatus(err); code != 1013 {
			t.Errorf("the status is %d, want 1013", code)
		}
		slow.Leave()
		if _, err := slow.Next(longContext(t)); !errors.Is(err, hub.ErrSlow) {
			t.Errorf("after Leave: got %v, want the first error", err)
		}
		// It joins again and has missed nothing.
		expect(t, join(t, b, "room", "slow", hub.JoinOptions{Since: slow.Last()}), "history", "0", "1", "2", "3", "4")
	})
}

func TestSlowMemberDropsOldest(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{Queue: 3, Policy: hub.DropOldest})
		publish(t, a, "room", "history")
		slow := join(t, a, "room", "slow", hub.JoinOptions{History: 1})
		quick := join(t, a, "room", "quick", hub.JoinOptions{})
		for n := range 6 {
			publish(t, b, "room", strconv.Itoa(n))
			expect(t, quick, strconv.Itoa(n))
		}
		testkit.Eventually(t, "the newest is queued", func() bool { return slow.Newest() == "5" })
		expect(t, slow, "history", "gap", "4", "5")
		publish(t, b, "room", "6")
		expect(t, slow, "6")
	})
}

func TestLeaveAndClose(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, _ := k.newHubs(t, hub.Options{})
		m := join(t, a, "room", "ann", hub.JoinOptions{})
		reading := make(chan error, 1)
		go func() {
			_, err := m.Next(longContext(t))
			reading <- err
		}()
		m.Leave()
		m.Leave()
		if err := <-reading; !errors.Is(err, hub.ErrLeft) {
			t.Errorf("after Leave: got %v, want ErrLeft", err)
		}
		m = join(t, a, "room", "ann", hub.JoinOptions{})
		publish(t, a, "room", "the last word")
		testkit.Eventually(t, "the message is queued", func() bool {
			return m.Queued() == 1
		})
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		expect(t, m, "the last word")
		_, err := m.Next(longContext(t))
		if code, _ := hub.CloseStatus(err); !errors.Is(err, hub.ErrClosed) || code != 1001 {
			t.Errorf("after Close: got %v, closed with %d", err, code)
		}
		m.Leave()
		_, joining := a.Join(longContext(t), "room", hub.Member{ID: "ann"}, hub.JoinOptions{})
		_, publishing := a.Publish(longContext(t), "room", nil)
		_, asking := a.Members(longContext(t), "room")
		for _, err := range []error{joining, publishing, asking, a.Notify(longContext(t), "room", nil)} {
			if !errors.Is(err, hub.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		}
		if err := a.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

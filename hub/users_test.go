package hub_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

func sendTo(t testing.TB, h hub.Hub, member, data string) {
	t.Helper()
	if err := h.SendTo(longContext(t), member, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

// awaitUsers waits until what one hub sends to members reaches another. In a Cluster,
// a server may be subscribed to its rooms before it is to the channel of users.
func awaitUsers(t testing.TB, from, to hub.Hub) {
	t.Helper()
	probe := hub.NewSession(to, hub.Member{ID: "probe"}, hub.SessionOptions{})
	defer probe.Close()
	testkit.Eventually(t, "members are reached", func() bool {
		if err := from.Disconnect(longContext(t), "probe", 4000, ""); err != nil {
			t.Fatal(err)
		}
		return errors.As(probe.Join(longContext(t), "", hub.JoinOptions{}), new(*hub.DisconnectError))
	})
}

func TestSendTo(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{})
		awaitUsers(t, a, b)
		awaitUsers(t, b, a)
		anyID := "ann \n\x00{}%2F\xff"
		session, other := newSession(t, a, anyID), newSession(t, b, anyID)
		enter(t, session, "one", hub.JoinOptions{})
		enter(t, session, "two", hub.JoinOptions{})
		enter(t, other, "one", hub.JoinOptions{})
		expectAll(t, session, "one: entered", "two: entered")
		expectAll(t, other, "one: entered")
		alone := join(t, b, "one", anyID, hub.JoinOptions{})
		bob := join(t, b, "one", "bob", hub.JoinOptions{})
		idle := newSession(t, a, anyID)

		sendTo(t, a, anyID, "1\n\x00")
		sendTo(t, a, anyID, "2")
		sendTo(t, a, "nobody", "3")
		for _, s := range []*hub.Session{session, other, idle} {
			expectAll(t, s, "direct 1\n\x00", "direct 2")
		}
		expect(t, alone, "direct 1\n\x00", "direct 2")
		publish(t, a, "one", "the end")
		expectAll(t, session, "one: the end")
		expect(t, alone, "the end")
		expect(t, bob, "the end")

		// Who has left gets nothing.
		alone.Leave()
		idle.Close()
		sendTo(t, b, anyID, "4")
		expectAll(t, session, "direct 4")
		expectAll(t, other, "direct 4")
	})
}

func TestSlowReceiverOfDirectEvents(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{Queue: 2})
		awaitUsers(t, b, a)
		s := newSession(t, a, "ann")
		enter(t, s, "room", hub.JoinOptions{})
		expectAll(t, s, "room: entered")
		for range 3 {
			sendTo(t, b, "ann", "hello")
		}
		testkit.Eventually(t, "the queue has overflowed", func() bool { return a.Stats().Slow == 1 })
		if _, err := s.Next(longContext(t)); !errors.Is(err, hub.ErrSlow) || errors.As(err, new(*hub.RoomError)) {
			t.Errorf("got %v, want ErrSlow", err)
		}
		if err := s.Join(longContext(t), "another room", hub.JoinOptions{}); !errors.Is(err, hub.ErrSlow) {
			t.Errorf("joining afterwards: %v, want ErrSlow", err)
		}
	})
}

func TestDisconnect(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, b := k.newHubs(t, hub.Options{})
		awaitUsers(t, a, b)
		here, there := newSession(t, a, "ann"), newSession(t, b, "ann")
		enter(t, here, "room", hub.JoinOptions{})
		enter(t, there, "room", hub.JoinOptions{})
		expectAll(t, here, "room: entered")
		expectAll(t, there, "room: entered")
		alone := join(t, b, "room", "ann", hub.JoinOptions{})
		bob := join(t, b, "room", "bob", hub.JoinOptions{Presence: true})

		publish(t, a, "room", "no longer for ann")
		expect(t, bob, "no longer for ann")
		sendTo(t, a, "ann", "you are banned")
		if err := a.Disconnect(longContext(t), "ann", 4003, "banned"); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the other server has done it", func() bool {
			return len(there.Rooms()) == 0 && alone.Queued() == 1
		})
		expectAll(t, there, "direct you are banned")
		expectAll(t, here, "direct you are banned")
		expect(t, alone, "direct you are banned")
		_, err1 := here.Next(longContext(t))
		_, err2 := there.Next(longContext(t))
		_, err3 := alone.Next(longContext(t))
		joining := here.Join(longContext(t), "another room", hub.JoinOptions{})
		for _, err := range []error{err1, err2, err3, joining} {
			var disconnected *hub.DisconnectError
			if code, reason := hub.CloseStatus(err); !errors.As(err, &disconnected) || code != 4003 || reason != "banned" {
				t.Errorf("got %v, which closes with %d %q", err, code, reason)
			}
		}
		alone.Leave()
		expect(t, bob, "left ann")
		if got := here.Rooms(); len(got) != 0 {
			t.Errorf("the session is still in %q", got)
		}

		// It ends only what exists.
		back := newSession(t, a, "ann")
		enter(t, back, "room", hub.JoinOptions{})
		publish(t, b, "room", "hello again")
		expectAll(t, back, "room: entered", "room: hello again")
	})
}

func TestBoundsOfSendToAndDisconnect(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, _ := k.newHubs(t, hub.Options{MaxData: 10})
		ctx := longContext(t)
		disconnect := func(code int, reason string) error { return a.Disconnect(ctx, "ann", code, reason) }
		for name, c := range map[string]struct{ err, want error }{
			"send to no member":     {a.SendTo(ctx, "", nil), hub.ErrInvalid},
			"send to a long member": {a.SendTo(ctx, strings.Repeat("x", 257), nil), hub.ErrTooLarge},
			"send much":             {a.SendTo(ctx, "ann", make([]byte, 11)), hub.ErrTooLarge},
			"send nothing":          {a.SendTo(ctx, "ann", nil), nil},
			"disconnect no member":  {a.Disconnect(ctx, "", 4000, ""), hub.ErrInvalid},
			"no code":               {disconnect(0, ""), hub.ErrInvalid},
			"no status":             {disconnect(1005, ""), hub.ErrInvalid},
			"abnormal closure":      {disconnect(1006, ""), hub.ErrInvalid},
			"TLS handshake":         {disconnect(1015, ""), hub.ErrInvalid},
			"unassigned":            {disconnect(2999, ""), hub.ErrInvalid},
			"a large code":          {disconnect(5000, ""), hub.ErrInvalid},
			"a long reason":         {disconnect(4000, strings.Repeat("x", 124)), hub.ErrTooLarge},
			"not UTF-8":             {disconnect(4000, "\xff"), hub.ErrInvalid},
			"the longest reason":    {disconnect(4999, strings.Repeat("x", 123)), nil},
			"normal closure":        {disconnect(1000, ""), nil},
			"policy violation":      {disconnect(1008, "no\nnewline is special"), nil},
		} {
			if !errors.Is(c.err, c.want) || c.want == nil && c.err != nil {
				t.Errorf("%s: got %v, want %v", name, c.err, c.want)
			}
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{a.SendTo(ctx, "ann", nil), disconnect(4000, "")} {
			if !errors.Is(err, hub.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
	})
}

// While Redis is unreachable, only the members on the same server are reached, and
// the caller gets an error. Afterwards all are reached again.
func TestUsersWithoutRedis(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	a, b := server.hub(hub.RedisOptions{}), server.hub(hub.RedisOptions{})
	here, there := newSession(t, a, "ann"), newSession(t, b, "ann")
	enter(t, there, "room", hub.JoinOptions{})
	expectAll(t, there, "room: entered")
	server.kill()
	if err := a.SendTo(longContext(t), "ann", []byte("lost")); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("send: %v", err)
	}
	expectAll(t, here, "direct lost")
	server.start()
	testkit.Eventually(t, "both are connected", func() bool { return a.Stats().Connected && b.Stats().Connected })
	testkit.Eventually(t, "it arrives on the other server", func() bool {
		if err := a.SendTo(longContext(t), "ann", []byte("again")); err != nil {
			return false // go-redis may still reject commands
		}
		return there.Queued() > 0
	})
	server.kill()
	if err := a.Disconnect(longContext(t), "ann", 4003, "banned"); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("disconnect: %v", err)
	}
	testkit.Eventually(t, "here is disconnected", func() bool {
		_, err := here.Next(longContext(t))
		return errors.As(err, new(*hub.DisconnectError))
	})
	server.start()
	for _, h := range []hub.Hub{a, b} { // so that go-redis stops to dial
		testkit.Eventually(t, "commands succeed", func() bool { return h.SendTo(longContext(t), "nobody", nil) == nil })
	}
}

// Others that share the Redis server can't reach the members, and what isn't a
// payload does nothing.
func TestUsersOfOtherPrefixes(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	a, b := server.hub(hub.RedisOptions{Prefix: "a:"}), server.hub(hub.RedisOptions{Prefix: "b:"})
	s := newSession(t, a, "ann")
	enter(t, s, "room", hub.JoinOptions{})
	expectAll(t, s, "room: entered")
	sendTo(t, b, "ann", "from another service")
	c := server.client()
	defer c.Close()
	for _, payload := range []string{"", "d", "x me ann 4003", "x me ann 0\n", "x me  4003\n", "d me %zz\n", "y me ann\nhello", " me ann\nhello"} {
		if err := c.Publish(longContext(t), "a:users", payload).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Publish(longContext(t), "a:users", "d me ann\nfrom a server in another language").Err(); err != nil {
		t.Fatal(err)
	}
	expectAll(t, s, "direct from a server in another language")
}

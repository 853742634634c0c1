package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/hub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what should come at once, on a machine that is busy.
const patience = 5 * time.Second

// world makes hubs that share their rooms, as if on two servers.
type world struct {
	name string
	hubs func(t testing.TB, o hub.Options) (a, b hub.Hub)
}

// everywhere runs a test of the contract on each kind of hub.
func everywhere(t *testing.T, test func(t *testing.T, w world)) {
	for _, w := range []world{{"memory", memoryHubs}, {"redis", redisHubs}, {"miniredis", miniredisHubs}} {
		t.Run(w.name, func(t *testing.T) { test(t, w) })
	}
}

func memoryHubs(t testing.TB, o hub.Options) (a, b hub.Hub) {
	h := hub.Memory(o)
	t.Cleanup(func() { _ = h.Close() })
	return h, h
}

func join(t testing.TB, h hub.Hub, room, name string, o hub.JoinOptions) *hub.Membership {
	t.Helper()
	m, err := h.Join(patiently(t), room, hub.Member{ID: name}, o)
	if err != nil {
		t.Fatalf("%s joins %q: %v", name, room, err)
	}
	t.Cleanup(m.Leave)
	return m
}

func publish(t testing.TB, h hub.Hub, room, data string) (id string) {
	t.Helper()
	id, err := h.Publish(patiently(t), room, []byte(data))
	if err != nil {
		t.Fatalf("publish %q: %v", data, err)
	}
	return id
}

func next(t testing.TB, m *hub.Membership) hub.Event {
	t.Helper()
	e, err := m.Next(patiently(t))
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	return e
}

// expect reads as many events as want has, which are written as by word.
func expect(t testing.TB, m *hub.Membership, want ...string) {
	t.Helper()
	var got []string
	for range want {
		got = append(got, word(next(t, m)))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("events are\n %q, want\n %q", got, want)
	}
}

// word is the data of a message, and the kind before whatever else there is.
func word(e hub.Event) string {
	switch e.Kind {
	case hub.Message:
		return string(e.Data)
	case hub.Notice:
		return "notice " + string(e.Data)
	case hub.Joined, hub.Left:
		return fmt.Sprintf("%v %s", e.Kind, e.Member.ID)
	}
	return e.Kind.String()
}

// nothing fails if an event waits or comes very soon.
func nothing(t testing.TB, m *hub.Membership) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if e, err := m.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %q, %v, want nothing", word(e), err)
	}
}

func patiently(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for what other servers bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

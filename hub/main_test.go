package hub_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/hub"
)

func TestMain(m *testing.M) {
	// go-redis ends an attempt to connect only after its own time, also if the client was
	// closed meanwhile.
	dialing := goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).dialConn")
	again := goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")
	goleak.VerifyTestMain(m, dialing, again, goleak.Cleanup(func(code int) {
		stopSharedCluster()
		os.Exit(code)
	}))
}

// longTimeout is for what should happen at once, even on a busy machine.
const longTimeout = 2 * time.Minute

// hubKind is an implementation of Hub. newHubs returns two hubs that share their
// rooms, as on two servers.
type hubKind struct {
	name    string
	newHubs func(t testing.TB, o hub.Options) (a, b hub.Hub)
}

// forEachKind runs a test of the contract with each implementation.
func forEachKind(t *testing.T, test func(t *testing.T, k hubKind)) {
	for _, k := range []hubKind{{"memory", memoryHubs}, {"redis", redisHubs}, {"sharded", shardedHubs},
		{"cluster", clusterHubs(false)}, {"sharded cluster", clusterHubs(true)}, {"miniredis", miniredisHubs}} {
		t.Run(k.name, func(t *testing.T) { test(t, k) })
	}
}

func memoryHubs(t testing.TB, o hub.Options) (a, b hub.Hub) {
	h := hub.Memory(o)
	t.Cleanup(func() { _ = h.Close() })
	return h, h
}

func join(t testing.TB, h hub.Hub, room, name string, o hub.JoinOptions) *hub.Membership {
	t.Helper()
	m, err := h.Join(longContext(t), room, hub.Member{ID: name}, o)
	if err != nil {
		t.Fatalf("%s joins %q: %v", name, room, err)
	}
	t.Cleanup(m.Leave)
	return m
}

func publish(t testing.TB, h hub.Hub, room, data string) (id string) {
	t.Helper()
	id, err := h.Publish(longContext(t), room, []byte(data))
	if err != nil {
		t.Fatalf("publish %q: %v", data, err)
	}
	return id
}

func next(t testing.TB, m *hub.Membership) hub.Event {
	t.Helper()
	e, err := m.Next(longContext(t))
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	return e
}

// expect reads len(want) events and compares their descriptions.
func expect(t testing.TB, m *hub.Membership, want ...string) {
	t.Helper()
	var got []string
	for range want {
		got = append(got, describe(next(t, m)))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("events are\n %q, want\n %q", got, want)
	}
}

// describe returns the data of a message, and for other events the kind followed
// by the content.
func describe(e hub.Event) string {
	switch e.Kind {
	case hub.Message:
		return string(e.Data)
	case hub.Notice, hub.Direct:
		return e.Kind.String() + " " + string(e.Data)
	case hub.Joined, hub.Left:
		return fmt.Sprintf("%v %s", e.Kind, e.Member.ID)
	}
	return e.Kind.String()
}

// expectNothing fails if an event is queued or arrives within 10 ms.
func expectNothing(t testing.TB, m *hub.Membership) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if e, err := m.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %q, %v, want nothing", describe(e), err)
	}
}

func longContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), longTimeout)
	t.Cleanup(cancel)
	return ctx
}

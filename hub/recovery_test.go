package hub_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

const (
	largeMessage = 10_000 // bytes
	queueLength  = 8
)

// large returns a large message with a number.
func large(n int) []byte {
	return append([]byte(strconv.Itoa(n)+" "), make([]byte, largeMessage)...)
}

func publishLarge(t testing.TB, h hub.Hub, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		publish(t, h, "room", string(large(n)))
	}
}

// expectLarge reads messages and checks that the member never holds much more than a
// page of them.
func expectLarge(t testing.TB, m *hub.Membership, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if held := m.Held(); held > hub.PageBytes+(queueLength+2)*largeMessage {
			t.Fatalf("before message %d, the member holds %d bytes", n, held)
		}
		if e := next(t, m); e.Kind != hub.Message || !bytes.Equal(e.Data, large(n)) {
			t.Fatalf("got %v %.10q, want message %d", e.Kind, e.Data, n)
		}
	}
}

// A member that joins with a long history gets all of it, a page at a time, and then
// what came meanwhile, even if that is more than its queue can hold.
func TestLongHistoryIsReadInPages(t *testing.T) {
	for name, o := range map[string]hub.JoinOptions{
		"since":   {},
		"history": {History: 300},
	} {
		t.Run(name, func(t *testing.T) {
			s := startRedis(t)
			ro := hub.RedisOptions{Options: hub.Options{Queue: queueLength}}
			a, b := s.hub(ro), s.hub(ro)
			publishLarge(t, a, 0, 1)
			if o.History == 0 {
				o.Since = join(t, a, "room", "first", hub.JoinOptions{}).Last()
				publishLarge(t, a, 1, 301)
			} else {
				publishLarge(t, a, 1, 301)
			}
			m := join(t, a, "room", "ann", o)
			expectLarge(t, m, 1, 151)
			publishLarge(t, b, 301, 331)
			expectLarge(t, m, 151, 331)
			publishLarge(t, b, 331, 332)
			expectLarge(t, m, 331, 332)
			expectNothing(t, m)
			events, err := b.HistoryOf(longContext(t), "room", "", 100)
			if err != nil || len(events) != 100 || !bytes.Equal(events[99].Data, large(331)) {
				t.Errorf("the history has %d events, %v", len(events), err)
			}
		})
	}
}

// After an outage a member gets everything that it missed, a page at a time, even if
// there is another outage before it has read all.
func TestCatchUpIsReadInPages(t *testing.T) {
	s := startRedis(t)
	var blocked atomic.Bool
	var dialer net.Dialer
	client := redis.NewClient(&redis.Options{
		MaxRetries: -1,
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if blocked.Load() {
				return nil, errors.New("blocked by the test")
			}
			return dialer.DialContext(ctx, "unix", s.socket())
		},
	})
	o := hub.RedisOptions{Client: client, Options: hub.Options{Queue: queueLength}}
	a, b := openHub(t, o), s.hub(hub.RedisOptions{})
	defer client.Close()
	defer a.Close()
	m := join(t, a, "room", "ann", hub.JoinOptions{})
	c := s.client()
	defer c.Close()
	outage := func(from, to int) {
		t.Helper()
		before := a.Stats().CatchUps
		blocked.Store(true)
		for a.Stats().Connected {
			c.ClientKillByFilter(t.Context(), "TYPE", "pubsub")
			testkit.Eventually(t, "the hub notices", func() bool { return !a.Stats().Connected })
		}
		publishLarge(t, b, from, to)
		blocked.Store(false)
		testkit.Eventually(t, "the hub has caught up", func() bool { return a.Stats().CatchUps > before })
	}
	outage(0, 100)
	expectLarge(t, m, 0, 50)
	outage(100, 200)
	expectLarge(t, m, 50, 200)
	publishLarge(t, b, 200, 201)
	expectLarge(t, m, 200, 201)
	expectNothing(t, m)
}

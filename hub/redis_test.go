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

	"github.com/redis/go-redis/v9"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

var durable = []string{"--appendonly", "yes", "--appendfsync", "no"}

// publishAll publishes n messages as clients should: each with a key, repeated
// until it succeeds.
func publishAll(t testing.TB, h hub.Hub, room, name string, n int, pause time.Duration) {
	for i := range n {
		key := fmt.Sprintf("%s/%d", name, i)
		deadline := time.Now().Add(longTimeout)
		for {
			_, err := h.PublishWith(context.Background(), room, []byte(key), hub.PublishOptions{Key: key})
			if err == nil {
				break
			}
			if !errors.Is(err, hub.ErrUnavailable) || time.Now().After(deadline) {
				t.Errorf("publish %s: %v", key, err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(pause)
	}
}

// readAll reads n events.
func readAll(t testing.TB, m *hub.Membership, n int) (all []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*longTimeout)
	defer cancel()
	for range n {
		e, err := m.Next(ctx)
		if err != nil {
			t.Errorf("after %d messages: %v", len(all), err)
			return all
		}
		all = append(all, e.ID+" "+describe(e))
	}
	return all
}

// testDisturbed runs publishers and members on two servers while disturb causes
// failures. Every member must get every message once and in one order.
func testDisturbed(t *testing.T, open func(hub.RedisOptions) hub.Hub, disturb func(done <-chan struct{})) {
	const publishers, each = 2, 300
	hubs := []hub.Hub{
		open(hub.RedisOptions{Timeout: time.Second, Options: hub.Options{Queue: 10_000}}),
		open(hub.RedisOptions{Timeout: time.Second, Options: hub.Options{Queue: 10_000, History: 2000}}),
	}
	got := make([][]string, 4)
	var reading, publishing sync.WaitGroup
	for i := range got {
		m := join(t, hubs[i%2], "room", strconv.Itoa(i), hub.JoinOptions{})
		reading.Go(func() { got[i] = readAll(t, m, publishers*each) })
	}
	for p := range publishers {
		publishing.Go(func() { publishAll(t, hubs[p], "room", strconv.Itoa(p), each, 2*time.Millisecond) })
	}
	done := make(chan struct{})
	var disturbing sync.WaitGroup
	disturbing.Go(func() { disturb(done) })
	publishing.Wait()
	close(done)
	disturbing.Wait()
	reading.Wait()
	for i := range got {
		if !slices.Equal(got[i], got[0]) {
			t.Fatalf("members 0 and %d differ:\n%q\n%q", i, got[0], got[i])
		}
	}
	seen := map[string]bool{}
	for _, s := range got[0] {
		_, data, _ := strings.Cut(s, " ")
		seen[data] = true
	}
	if len(seen) < publishers*each {
		t.Errorf("of %d messages, %d are different", len(got[0]), len(seen))
	}
}

func TestRedisRestartsInTheMiddle(t *testing.T) {
	t.Parallel()
	s := startRedis(t, durable...)
	testDisturbed(t, s.hub, func(<-chan struct{}) {
		for range 2 {
			time.Sleep(200 * time.Millisecond)
			s.kill()
			time.Sleep(100 * time.Millisecond)
			s.start()
		}
	})
}

// The connection for pub/sub breaks repeatedly, as if Redis had closed it because
// the hub was too slow, or a firewall had dropped it.
func TestSubscriptionBreaksInTheMiddle(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	c := s.client()
	defer c.Close()
	testDisturbed(t, s.hub, func(done <-chan struct{}) {
		for {
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
				c.ClientKillByFilter(context.Background(), "TYPE", "pubsub")
			}
		}
	})
}

func TestRedisIsUnreachable(t *testing.T) {
	t.Parallel()
	s := startRedis(t, durable...)
	a := s.hub(hub.RedisOptions{Timeout: time.Second})
	b := s.hub(hub.RedisOptions{Timeout: time.Second})
	ann := join(t, a, "room", "ann", hub.JoinOptions{Presence: true})
	amy := join(t, a, "room", "amy", hub.JoinOptions{})
	bob := join(t, b, "room", "bob", hub.JoinOptions{Presence: true})
	expect(t, ann, "joined amy", "joined bob")
	publish(t, a, "room", "1")
	expect(t, ann, "1")
	expect(t, bob, "1")
	s.kill()

	if _, err := a.Publish(t.Context(), "room", nil); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("publish: got %v, want ErrUnavailable", err)
	}
	_, err := a.Join(t.Context(), "room", hub.Member{ID: "eve"}, hub.JoinOptions{})
	if code, _ := hub.CloseStatus(err); !errors.Is(err, hub.ErrUnavailable) || code != 1013 {
		t.Errorf("join: got %v, closed with %d", err, code)
	}
	if got := names(t, a, "room"); !slices.Equal(got, []string{"amy", "ann", "bob"}) {
		t.Errorf("members are %q", got)
	}
	// Members on the same server still see each other.
	if err := a.Notify(t.Context(), "room", []byte("typing")); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("notify: got %v, want ErrUnavailable", err)
	}
	expect(t, ann, "notice typing")
	amy.Leave()
	expect(t, ann, "left amy")
	expectNothing(t, bob)

	s.start()
	expect(t, bob, "left amy")
	publishAll(t, b, "room", "after", 1, 0)
	expect(t, ann, "after/0")
	expect(t, bob, "after/0")
}

// Redis restarts without its data. Members get a Gap, and the room continues.
func TestRedisLosesItsData(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := s.hub(hub.RedisOptions{}), s.hub(hub.RedisOptions{})
	ann := join(t, a, "room", "ann", hub.JoinOptions{Presence: true})
	bob := join(t, b, "room", "bob", hub.JoinOptions{Presence: true})
	expect(t, ann, "joined bob")
	publish(t, a, "room", "1")
	expect(t, ann, "1")
	expect(t, bob, "1")
	s.kill()
	s.start()
	expect(t, ann, "gap")
	expect(t, bob, "gap")
	publishAll(t, a, "room", "after", 2, 0)
	expect(t, ann, "after/0", "after/1")
	expect(t, bob, "after/0", "after/1")
	for _, h := range []hub.Hub{a, b} {
		if got := names(t, h, "room"); !slices.Equal(got, []string{"ann", "bob"}) {
			t.Errorf("members are %q", got)
		}
	}
	fresh := s.hub(hub.RedisOptions{})
	if got := names(t, fresh, "room"); !slices.Equal(got, []string{"ann", "bob"}) {
		t.Errorf("for another server, members are %q", got)
	}
	expect(t, join(t, fresh, "room", "eve", hub.JoinOptions{Since: bob.Last()}))
}

func TestMembersOfCrashedServerLeave(t *testing.T) {
	t.Parallel()
	const lease = 3 * time.Second
	s := startRedis(t)
	open := func() hub.Hub { return s.hub(hub.RedisOptions{Lease: lease}) }
	a, crashing := open(), open()
	ann := join(t, a, "room", "ann", hub.JoinOptions{Presence: true})
	join(t, crashing, "room", "bob", hub.JoinOptions{})
	join(t, crashing, "room", "eve", hub.JoinOptions{})
	join(t, crashing, "elsewhere", "bob", hub.JoinOptions{})
	expect(t, ann, "joined bob", "joined eve")
	time.Sleep(lease) // the lease is renewed meanwhile
	expectNothing(t, ann)

	crash := time.Now()
	hub.Crash(crashing)
	// Eve's client reconnects at once. The others don't see her leave.
	join(t, open(), "room", "eve", hub.JoinOptions{})
	expect(t, ann, "left bob")
	if took := time.Since(crash); took < lease/4 {
		t.Errorf("bob left after %v, the lease is %v", took, lease)
	}
	expectNothing(t, ann)
	if got := names(t, a, "room"); !slices.Equal(got, []string{"ann", "eve"}) {
		t.Errorf("members are %q", got)
	}
	// It may have been eve's new server that removed bob from the room. This
	// server has the same time to notice the crash.
	testkit.Eventually(t, "the room with only crashed members is empty", func() bool { return len(names(t, a, "elsewhere")) == 0 })
	t.Logf("in the other room, bob left after %v, the lease is %v", time.Since(crash), lease)
	if got := names(t, open(), "elsewhere"); len(got) != 0 {
		t.Errorf("for a new server, members are %q", got)
	}
	c := s.client()
	defer c.Close()
	has := func(room string, members int64) func() bool {
		return func() bool {
			fields, err := c.HLen(t.Context(), "holdfast:{"+room+"}:m").Result()
			return err == nil && fields == members+2 // b and v
		}
	}
	testkit.Eventually(t, "the entries are removed from Redis", has("room", 2))
	// A room without live members isn't cleaned up until a member joins.
	if !has("elsewhere", 1)() {
		t.Error("Members has changed the room")
	}
	join(t, a, "elsewhere", "ann", hub.JoinOptions{})
	testkit.Eventually(t, "bob is removed from Redis", has("elsewhere", 1))
}

// All leases expire while Redis is down. The server that reconnects first must not
// consider the others dead.
func TestRedisIsDownForLongerThanTheLease(t *testing.T) {
	t.Parallel()
	const lease = 3 * time.Second
	s := startRedis(t, durable...)
	o := hub.RedisOptions{Lease: lease, Timeout: time.Second}
	var members []*hub.Membership
	for i := range 4 {
		members = append(members, join(t, s.hub(o), "room", strconv.Itoa(i), hub.JoinOptions{Presence: true}))
	}
	for i, m := range members {
		for j := i + 1; j < len(members); j++ {
			expect(t, m, "joined "+strconv.Itoa(j))
		}
	}
	s.kill()
	time.Sleep(lease)
	s.start()
	time.Sleep(lease)
	for _, m := range members {
		expectNothing(t, m)
	}
}

// All keys in Redis have a TTL, which is extended while the room is in use.
func TestKeysExpire(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	const ttl = time.Second
	o := hub.RedisOptions{Options: hub.Options{HistoryTTL: ttl}, Lease: time.Second}
	a := s.hub(o)
	m := join(t, a, "used", "ann", hub.JoinOptions{})
	since := m.Last()
	publish(t, a, "used", "1")
	publish(t, a, "unused", "1")
	c := s.client()
	defer c.Close()
	keys, err := c.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 6 {
		t.Fatalf("keys are %q, %v", keys, err)
	}
	for _, key := range keys {
		if ttl := c.PTTL(t.Context(), key).Val(); ttl <= 0 {
			t.Errorf("%s doesn't expire", key)
		}
	}
	testkit.Eventually(t, "the unused room has expired", func() bool {
		n, err := c.Exists(t.Context(), "holdfast:{unused}:s", "holdfast:{unused}:k").Result()
		return err == nil && n == 0
	})
	expect(t, join(t, a, "used", "bob", hub.JoinOptions{Since: since}), "1")
}

func TestRedisOptions(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	for name, o := range map[string]hub.RedisOptions{
		"neither URL nor client": {},
		"ring":                   {Client: ring},
		"bad URL":                {URL: "localhost:6379"},
		"bad prefix":             {URL: "redis://localhost", Prefix: "a{b"},
		"short history":          {URL: "redis://localhost", Options: hub.Options{HistoryTTL: 1}},
		"short lease":            {URL: "redis://localhost", Lease: time.Millisecond},
	} {
		if h, err := hub.Redis(o); err == nil {
			t.Errorf("%s: no error", name)
			_ = h.Close()
		}
	}
}

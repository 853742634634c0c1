package hub_test

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// bigRoom is the size of a large room. HOLDFAST_HUB_MEMBERS sets another: docs/hub.md
// has measurements with 30,000.
func bigRoom(t testing.TB) int {
	text := os.Getenv("HOLDFAST_HUB_MEMBERS")
	if text == "" {
		return 600
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("HOLDFAST_HUB_MEMBERS: %v", err)
	}
	return n
}

// crowd joins n members to one room.
func crowd(t testing.TB, h hub.Hub, n int) []*hub.Membership {
	t.Helper()
	return joinAll(t, h, n, func(i int) (room, id string) { return "room", strconv.Itoa(i) })
}

// A join needs one call of a script, which doesn't read the members of the room, and
// none without presence.
func TestCrowdJoins(t *testing.T) {
	for _, c := range []struct {
		name string
		o    hub.Options
		most int // calls per 100 joins
	}{{"with presence", hub.Options{}, 510}, {"without presence", hub.Options{NoPresence: true}, 10}} {
		t.Run(c.name, func(t *testing.T) {
			s := startRedis(t)
			h := s.hub(hub.RedisOptions{Options: c.o, Timeout: longTimeout})
			n := bigRoom(t)
			before := s.calls()
			start := time.Now()
			crowd(t, h, n)
			t.Logf("%d joins in %v", n, time.Since(start))
			total := 0
			for name, calls := range s.calls() {
				switch name {
				case "info", "hello", "client|setinfo":
				case "eval", "script|load": // the first joins load the script
				default:
					total += calls - before[name]
				}
			}
			if total*100 > c.most*n {
				t.Errorf("%d joins need %d calls: %v", n, total, s.calls())
			}
		})
	}
}

// While a room is read again, Redis answers others. A member gets presence events of
// what happened meanwhile, and nobody seems to leave.
func TestResyncOfBigRoom(t *testing.T) {
	s := startRedis(t)
	n := bigRoom(t)
	a := s.hub(hub.RedisOptions{Timeout: longTimeout})
	members := crowd(t, a, n)
	b := s.hub(hub.RedisOptions{Timeout: longTimeout})
	watcher := join(t, b, "room", "watcher", hub.JoinOptions{Presence: true})
	if got := len(names(t, b, "room")); got != n+1 {
		t.Errorf("%d members, want %d", got, n+1)
	}
	c := s.client()
	defer c.Close()

	ctx, stop := context.WithCancel(t.Context())
	var pinging sync.WaitGroup
	var pings []time.Duration
	pinging.Go(func() {
		for ctx.Err() == nil {
			start := time.Now()
			if c.Ping(ctx).Err() == nil {
				pings = append(pings, time.Since(start))
			}
		}
	})
	slow := s.client()
	defer slow.Close()
	slow.ConfigSet(t.Context(), "slowlog-log-slower-than", "1000")
	slow.SlowLogReset(t.Context())
	slow.ConfigResetStat(t.Context())
	before := b.Stats().CatchUps
	// As if the connections of both servers had broken.
	slow.ClientKillByFilter(t.Context(), "TYPE", "pubsub")
	for i := range 100 { // members move and leave meanwhile
		if i%2 == 0 {
			join(t, b, "room", strconv.Itoa(i), hub.JoinOptions{})
		}
		members[i].Leave()
	}
	testkit.Eventually(t, "the room has been read again", func() bool { return b.Stats().CatchUps > before })
	var left, want []string // some on the channel, some found by reading, in any order
	for i := 1; i < 100; i += 2 {
		want = append(want, "left "+strconv.Itoa(i))
		left = append(left, describe(next(t, watcher)))
	}
	slices.Sort(want)
	if slices.Sort(left); !slices.Equal(left, want) {
		t.Errorf("events are\n %q, want in any order\n %q", left, want)
	}
	expectNothing(t, watcher)
	stop()
	pinging.Wait()
	slices.Sort(pings)
	t.Logf("%d members: PING p50 %v, p99 %v, max %v", n, pings[len(pings)/2], pings[len(pings)*99/100], pings[len(pings)-1])
	for _, e := range slow.SlowLogGet(t.Context(), 20).Val() {
		t.Logf("slow: %v %.80q", e.Duration, e.Args)
	}
	if calls := s.calls(); calls["hgetall"] != 0 || calls["hscan"] < 2*n/1000 {
		t.Errorf("the members weren't read in parts: %v", calls)
	}
}

package hub_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

var commandCalls = regexp.MustCompile(`cmdstat_([a-z|]+):calls=(\d+)`)

// calls returns how often Redis has executed each command, including those called
// by scripts.
func (s *redisServer) calls() map[string]int {
	s.t.Helper()
	c := s.client()
	defer c.Close()
	info, err := c.Info(context.Background(), "commandstats").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	calls := make(map[string]int)
	for _, m := range commandCalls.FindAllStringSubmatch(info, -1) {
		calls[m[1]], _ = strconv.Atoi(m[2])
	}
	return calls
}

// A message costs one call of a script, which calls at most six commands on
// average, also when the history is full.
func TestCallsOfAPublish(t *testing.T) {
	t.Parallel()
	const messages, history = 1000, 200
	for _, c := range []struct {
		name string
		key  func(n int) string
	}{
		{"with keys", strconv.Itoa},
		{"without keys", func(int) string { return "" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startRedis(t)
			h := s.hub(hub.RedisOptions{Options: hub.Options{History: history}})
			send := func(from, n int) {
				for i := from; i < from+n; i++ {
					if _, err := h.PublishWith(longContext(t), "room", make([]byte, 100), hub.PublishOptions{Key: c.key(i)}); err != nil {
						t.Fatal(err)
					}
				}
			}
			send(0, 2*history) // fills the history
			before := s.calls()
			send(2*history, messages)
			total, list := 0, ""
			for name, n := range s.calls() {
				if n -= before[name]; n > 0 && name != "info" {
					total += n
					list += fmt.Sprintf(" %s:%d", name, n)
				}
			}
			scripts := s.calls()["evalsha"] - before["evalsha"]
			t.Logf("%d messages:%s", messages, list)
			if per := float64(total-scripts) / messages; per > 6 {
				t.Errorf("a message needs %.2f calls besides the script, want at most 6", per)
			}
			if per := float64(total) / messages; per > 6.2 {
				t.Errorf("a message needs %.2f calls in total", per)
			}
			r := s.client()
			defer r.Close()
			if n := r.XLen(t.Context(), "holdfast:{room}:s").Val(); n != history {
				t.Errorf("the history has %d messages, want %d", n, history)
			}
			// Keys of trimmed messages are removed later, a part at a time.
			if n := r.HLen(t.Context(), "holdfast:{room}:k").Val(); n < history || n > 2*history {
				t.Errorf("%d keys are known, of %d messages", n, history)
			}
		})
	}
}

// Observers, and members of a room without presence, write nothing to Redis.
func TestJoinWithoutPresenceWritesNothing(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a := s.hub(hub.RedisOptions{Options: hub.Options{Room: func(room string, o hub.RoomOptions) hub.RoomOptions {
		o.NoPresence = room == "no presence"
		return o
	}}})
	r := s.client()
	defer r.Close()
	keys := func() []string {
		all, err := r.Keys(t.Context(), "*").Result()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		return all
	}
	for _, j := range []struct {
		room string
		o    hub.JoinOptions
	}{
		{"no presence", hub.JoinOptions{Presence: true}},
		{"presence", hub.JoinOptions{Observer: true}},
	} {
		m := join(t, a, j.room, "ann", j.o)
		if got := keys(); !slices.Equal(got, []string{"holdfast:servers"}) {
			t.Errorf("%s: the keys are %q", j.room, got)
		}
		m.Leave()
		testkit.Eventually(t, "the channel is unsubscribed", func() bool {
			channels, err := r.PubSubChannels(t.Context(), "holdfast:{*").Result()
			return err == nil && len(channels) == 0
		})
		if got := keys(); !slices.Equal(got, []string{"holdfast:servers"}) {
			t.Errorf("%s: after leaving, the keys are %q", j.room, got)
		}
	}
}

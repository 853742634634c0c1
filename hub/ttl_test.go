package hub_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// failingExpire makes the first pipeline with a PEXPIRE fail, and records when there
// was one.
type failingExpire struct {
	mu    sync.Mutex
	times []time.Time
}

func (f *failingExpire) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (f *failingExpire) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f *failingExpire) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "pexpire" && f.count() == 1 {
			return errors.New("failed by the test")
		}
		return next(ctx, cmds)
	}
}

func (f *failingExpire) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times = append(f.times, time.Now())
	return len(f.times)
}

func (f *failingExpire) recorded() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.times
}

// If the TTLs of a room's keys can't be extended, this is tried again soon.
func TestExtendingTTLsIsRetried(t *testing.T) {
	t.Parallel()
	const ttl = 20 * time.Second
	s := startRedis(t)
	client := s.client()
	hook := &failingExpire{}
	client.AddHook(hook)
	h := openHub(t, hub.RedisOptions{Client: client, Options: hub.Options{HistoryTTL: ttl}})
	defer client.Close()
	defer h.Close()
	join(t, h, "room", "ann", hub.JoinOptions{})
	testkit.Eventually(t, "the TTLs are extended again", func() bool { return len(hook.recorded()) >= 2 })
	times := hook.recorded()
	if pause := times[1].Sub(times[0]); pause >= ttl/4 {
		t.Errorf("tried again after %v, the interval is %v", pause, ttl/4)
	}
}

// A room with a shorter HistoryTTL than that of the hub keeps its history as long as it
// has members.
func TestHistoryOfRoomWithShortTTL(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	h := s.hub(hub.RedisOptions{Options: hub.Options{Room: func(room string, o hub.RoomOptions) hub.RoomOptions {
		o.HistoryTTL = time.Second
		return o
	}}})
	publish(t, h, "used", "1")
	publish(t, h, "unused", "1")
	join(t, h, "used", "ann", hub.JoinOptions{})
	c := s.client()
	defer c.Close()
	testkit.Eventually(t, "the unused room has expired", func() bool {
		n, err := c.Exists(t.Context(), "holdfast:{unused}:s", "holdfast:{unused}:k").Result()
		return err == nil && n == 0
	})
	expect(t, join(t, h, "used", "bob", hub.JoinOptions{History: 1}), "1")
}

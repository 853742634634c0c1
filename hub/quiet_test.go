package hub_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// A hub made from a URL prints nothing when it can't connect. The test replaces the
// logger of go-redis, as an application may: the hub doesn't touch it.
func TestOutageIsNotPrinted(t *testing.T) {
	var printed capture
	redis.SetLogger(&printed)
	t.Cleanup(logging.Enable)
	s := startRedis(t)
	h := s.hub(hub.RedisOptions{})
	join(t, h, "room", "ann", hub.JoinOptions{})
	// The client of the test has an ordinary dialer.
	c := s.client()
	defer c.Close()
	s.kill()
	if err := c.Ping(t.Context()).Err(); err == nil {
		t.Error("Redis still answers")
	}
	if n := printed.count(s.socket()); n != 1 {
		t.Errorf("go-redis has printed %d lines about the client of the test, want 1", n)
	}
	testkit.Eventually(t, "the hub is disconnected", func() bool { return !h.Stats().Connected })
	for range 5 {
		if _, err := h.Publish(t.Context(), "room", nil); err == nil {
			t.Error("Publish succeeds without Redis")
		}
	}
	if n := printed.count(s.socket()); n != 1 {
		t.Errorf("go-redis has printed %d lines about the hub", n-1)
	}
}

// capture is a logger for go-redis.
type capture struct {
	mu    sync.Mutex
	lines []string
}

func (c *capture) Printf(_ context.Context, format string, v ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, fmt.Sprintf(format, v...))
}

// count returns how many lines contain text.
func (c *capture) count(text string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range c.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

package hub_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// A replica takes over that lacks the last message and whose clock is an hour
// behind. Another message takes the place of the lost one. A member that has the
// lost message must still get the other.
func TestFailoverToClockThatIsBehind(t *testing.T) {
	t.Parallel()
	// Which ID is later depends on the hashes of the keys.
	t.Run("later ID", func(t *testing.T) { failOver(t, "lost", "instead", "gap", "instead/0") })
	t.Run("earlier ID", func(t *testing.T) { failOver(t, "instead", "lost", "gap") })
}

func failOver(t *testing.T, lost, instead string, want ...string) {
	t.Parallel()
	s := startRedis(t, durable...)
	c := s.client()
	defer c.Close()
	id := fmt.Sprintf("%d-0", time.Now().Add(time.Hour).UnixMilli())
	if err := c.XAdd(context.Background(), &redis.XAddArgs{
		Stream: "holdfast:{room}:s", ID: id, Values: []string{"p", "0-0", "k", "a", "d", "both have it"},
	}).Err(); err != nil {
		t.Fatal(err)
	}
	replica := startRedis(t, durable...)
	replica.takeOver(s)

	h := s.hub(hub.RedisOptions{})
	ann := join(t, h, "room", "ann", hub.JoinOptions{History: 50})
	publishAll(t, h, "room", lost, 1, 0)
	expect(t, ann, "both have it", lost+"/0")
	s.kill()
	testkit.Eventually(t, "the hub is disconnected", func() bool { return !h.Stats().Connected })
	publishAll(t, replica.hub(hub.RedisOptions{}), "room", instead, 1, 0)
	s.takeOver(replica) // at the same address, so that h finds it

	if err := h.Ready(longContext(t)); err != nil {
		t.Fatal(err)
	}
	bob := join(t, h, "room", "bob", hub.JoinOptions{Since: ann.Last()})
	expect(t, ann, want...)
	expect(t, bob, want...)
	publishAll(t, h, "room", "after", 1, 0)
	expect(t, ann, "after/0")
	expect(t, bob, "after/0")
}

// takeOver restarts the server with the data that other has on disk.
func (s *redisServer) takeOver(other *redisServer) {
	s.t.Helper()
	const data = "appendonlydir"
	s.kill()
	err := os.RemoveAll(filepath.Join(s.dir, data))
	if err == nil {
		err = os.CopyFS(filepath.Join(s.dir, data), os.DirFS(filepath.Join(other.dir, data)))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.start()
}

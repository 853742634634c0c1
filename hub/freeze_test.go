//go:build unix

package hub_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/hub"
)

// All leases expire while Redis is frozen. No member leaves.
func TestRedisFreezesForLongerThanTheLease(t *testing.T) {
	t.Parallel()
	const lease = time.Second
	s := startRedis(t)
	a := s.hub(hub.RedisOptions{Lease: lease, Timeout: lease})
	b := s.hub(hub.RedisOptions{Lease: lease, Timeout: lease})
	ann := join(t, a, "room", "ann", hub.JoinOptions{Presence: true})
	join(t, b, "room", "bob", hub.JoinOptions{})
	expect(t, ann, "joined bob")
	s.freeze()
	time.Sleep(2 * lease)
	s.thaw()
	publishAll(t, b, "room", "after", 1, 0)
	expect(t, ann, "after/0")
	time.Sleep(lease)
	expectNothing(t, ann)
}

// freeze stops the process, with its connections open, until thaw.
func (s *redisServer) freeze() { _ = s.process.Process.Signal(syscall.SIGSTOP) }
func (s *redisServer) thaw()   { _ = s.process.Process.Signal(syscall.SIGCONT) }

//go:build unix

package e2e

import (
	"context"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server of a test's own. What it has acknowledged
// outlives a restart.
type redisServer struct {
	*process
	address string
	dir     string
}

func startRedis(t testing.TB) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is missing: run scripts/setup-tests.sh")
	}
	// It can't be asked which port it took, so it is told one that is free.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &redisServer{address: ln.Addr().String(), dir: t.TempDir()}
	ln.Close()
	s.start(t)
	return s
}

func (s *redisServer) start(t testing.TB) {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.address)
	s.process = start(t, "redis", exec.Command("redis-server",
		"--bind", host, "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "yes"))
	client := s.client()
	defer client.Close()
	eventually(t, "up: redis", func() bool { return client.Ping(context.Background()).Err() == nil })
}

func (s *redisServer) url() string { return "redis://" + s.address }

// client has to be closed by the caller.
func (s *redisServer) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.address, MaxRetries: -1})
}

// restart kills the server, as kill -9 does, and starts another in its place
// after a while.
func (s *redisServer) restart(t testing.TB, away time.Duration) {
	t.Helper()
	s.kill(t)
	time.Sleep(away)
	s.start(t)
}

// processorTime is what the server has used of the processors so far.
func (s *redisServer) processorTime(t testing.TB) (used time.Duration) {
	t.Helper()
	client := s.client()
	defer client.Close()
	info, err := client.InfoMap(context.Background(), "cpu").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"used_cpu_user", "used_cpu_sys"} {
		d, err := time.ParseDuration(info["CPU"][kind] + "s")
		if err != nil {
			t.Fatal(err)
		}
		used += d
	}
	return used
}

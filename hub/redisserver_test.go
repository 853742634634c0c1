package hub_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/holdfast-ws/holdfast/hub"
)

// redisServer is a redis-server process for one test, on a Unix socket in a
// temporary directory.
type redisServer struct {
	t       testing.TB
	dir     string
	args    []string
	process *exec.Cmd
}

// startRedis starts a server. It stores nothing on disk unless args enable it.
func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is missing: run scripts/setup-tests.sh")
	}
	// The path of t.TempDir may be too long for a socket.
	dir, err := os.MkdirTemp("", "hub")
	if err != nil {
		t.Fatal(err)
	}
	s := &redisServer{t: t, dir: dir, args: args}
	t.Cleanup(func() {
		s.kill()
		_ = os.RemoveAll(dir)
	})
	s.start()
	return s
}

func (s *redisServer) socket() string { return filepath.Join(s.dir, "redis.sock") }

func (s *redisServer) url() string { return "unix://" + s.socket() }

func (s *redisServer) start() {
	s.t.Helper()
	var log bytes.Buffer
	args := append([]string{"--port", "0", "--unixsocket", s.socket(), "--dir", s.dir, "--save", ""}, s.args...)
	s.process = exec.Command("redis-server", args...)
	s.process.Stdout = &log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	c := s.client()
	defer c.Close()
	for deadline := time.Now().Add(longTimeout); c.Ping(context.Background()).Err() != nil; {
		if time.Now().After(deadline) {
			s.kill()
			s.t.Fatalf("redis-server doesn't answer:\n%s", log.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// kill ends the server with SIGKILL.
func (s *redisServer) kill() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

func (s *redisServer) client() *redis.Client {
	return redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket(), MaxRetries: -1})
}

// hub returns a hub on this server. It is closed at the end of the test.
func (s *redisServer) hub(o hub.RedisOptions) hub.Hub {
	s.t.Helper()
	o.URL = s.url()
	return openHub(s.t, o)
}

func openHub(t testing.TB, o hub.RedisOptions) hub.Hub {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	h, err := hub.Redis(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func redisHubs(t testing.TB, o hub.Options) (a, b hub.Hub) {
	s := startRedis(t)
	return s.hub(hub.RedisOptions{Options: o}), s.hub(hub.RedisOptions{Options: o})
}

func shardedHubs(t testing.TB, o hub.Options) (a, b hub.Hub) {
	s := startRedis(t)
	ro := hub.RedisOptions{Options: o, ShardedPubSub: true}
	return s.hub(ro), s.hub(ro)
}

func miniredisHubs(t testing.TB, o hub.Options) (a, b hub.Hub) {
	s, err := miniredis.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	ro := hub.RedisOptions{Options: o, URL: "redis://" + s.Addr()}
	return openHub(t, ro), openHub(t, ro)
}

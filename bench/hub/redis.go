package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a Redis server on a Unix socket.
type redisServer struct {
	dir     string
	stored  bool // survives a restart
	process *exec.Cmd
	client  *redis.Client // for what is measured
}

// startRedis starts a server. If its data is to be stored, it is after a restart as it was.
func startRedis(ctx context.Context, stored bool) (*redisServer, error) {
	dir, err := os.MkdirTemp("", "bench-hub")
	if err != nil {
		return nil, err
	}
	s := &redisServer{dir: dir, stored: stored}
	s.client = redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket(), MaxRetries: -1, ContextTimeoutEnabled: true})
	if err := s.start(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *redisServer) socket() string { return filepath.Join(s.dir, "redis.sock") }

func (s *redisServer) url() string { return "unix://" + s.socket() }

// start starts the server and waits until it answers.
func (s *redisServer) start(ctx context.Context) error {
	appendOnly := "no"
	if s.stored {
		appendOnly = "yes"
	}
	s.process = exec.Command("redis-server", "--port", "0", "--unixsocket", s.socket(),
		"--dir", s.dir, "--save", "", "--appendonly", appendOnly)
	if err := s.process.Start(); err != nil {
		return fmt.Errorf("redis-server: %w", err)
	}
	for began := time.Now(); s.ping(ctx) != nil; time.Sleep(5 * time.Millisecond) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Since(began) > 30*time.Second {
			return fmt.Errorf("redis-server doesn't answer in %s", s.dir)
		}
	}
	return nil
}

func (s *redisServer) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return s.client.Ping(ctx).Err()
}

// kill ends the server as kill -9 does.
func (s *redisServer) kill() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

func (s *redisServer) signal(sig syscall.Signal) error { return s.process.Process.Signal(sig) }

func (s *redisServer) close() {
	if s.process != nil {
		s.kill()
	}
	_ = s.client.Close()
	_ = os.RemoveAll(s.dir)
}

// usage is what a server has used so far.
type usage struct {
	cpu    time.Duration
	calls  int   // commands, including those that scripts call
	memory int64 // in bytes
}

func (s *redisServer) usage(ctx context.Context) (u usage, err error) {
	info, err := s.client.Info(ctx, "memory", "cpu", "commandstats").Result()
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "used_memory":
			u.memory = int64(n)
		case "used_cpu_sys", "used_cpu_user":
			u.cpu += time.Duration(n * float64(time.Second))
		}
		if command, ok := strings.CutPrefix(name, "cmdstat_"); ok && command != "info" && command != "ping" {
			calls, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
			n, _ := strconv.Atoi(calls)
			u.calls += n
		}
	}
	return u, nil
}

// longestPing pings the server until the returned function is called, which returns how
// long the slowest answer took.
func (s *redisServer) longestPing(ctx context.Context) (stop func() time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	var longest time.Duration
	var pinging sync.WaitGroup
	pinging.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			if s.client.Ping(ctx).Err() == nil {
				longest = max(longest, time.Since(began))
			}
			time.Sleep(time.Millisecond)
		}
	})
	return func() time.Duration {
		cancel()
		pinging.Wait()
		return longest
	}
}

func redisVersion() string {
	out, _ := exec.Command("redis-server", "--version").Output()
	for word := range strings.FieldsSeq(string(out)) {
		if version, ok := strings.CutPrefix(word, "v="); ok {
			return version
		}
	}
	return "unknown"
}

//go:build unix

package redistest

import (
	"context"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
)

// Server is a redis-server that ends with the test. It writes snapshots only
// if args of Start say so.
type Server struct {
	*process.Process
	Address string
	Dir     string // its working directory
	args    []string
}

// Start starts a server with further arguments, and waits until it answers.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is missing: run scripts/setup-tests.sh")
	}
	// The server can't choose a free port itself and report it.
	s := &Server{Address: testkit.FreeAddress(t), Dir: t.TempDir(), args: args}
	s.Start(t)
	return s
}

// Start starts the server again after it was killed, with the same address and
// directory, and waits until it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.Address)
	s.Process = process.Start(t, "redis", exec.Command("redis-server", append([]string{
		"--bind", host, "--port", port, "--dir", s.Dir, "--save", ""}, s.args...)...))
	client := s.Client()
	defer client.Close()
	testkit.Eventually(t, "redis answers", func() bool { return client.Ping(context.Background()).Err() == nil })
}

// Restart kills the server as kill -9 does and starts it again after a while.
func (s *Server) Restart(t testing.TB, away time.Duration) {
	t.Helper()
	s.Kill(t)
	time.Sleep(away)
	s.Start(t)
}

// URL returns the server's address as a redis:// URL.
func (s *Server) URL() string { return "redis://" + s.Address }

// Client returns a client of the server. The caller closes it.
func (s *Server) Client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.Address, MaxRetries: -1})
}

// ProcessorTime returns the processor time that the server has used so far.
func (s *Server) ProcessorTime(t testing.TB) (used time.Duration) {
	t.Helper()
	client := s.Client()
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

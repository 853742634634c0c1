//go:build unix

package socketio

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/redistest"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// server is a server of the board. Its address stays when it starts again.
type server struct {
	*process.Process
	name, redis string
	port        int
}

func (s *server) start(t testing.TB) {
	t.Helper()
	cmd := kit.NodeExample(t, "socketio", "--name", s.name, "--port", fmt.Sprint(s.port))
	cmd.Env = append(os.Environ(), "BOARD_REDIS="+s.redis)
	s.Process = process.Start(t, s.name, cmd)
	s.Stdout.Find(t, "port", 0, func(line string) bool {
		n, _ := fmt.Sscanf(line, "listening on port %d", &s.port)
		return n == 1
	})
}

// acks are the questions that a server has asked its clients.
type acks struct{ Asked, Answered, Unanswered float64 }

// exited waits until the server has ended after SIGTERM, and returns what it counted.
func (s *server) exited(t testing.TB) (a acks) {
	t.Helper()
	if status := s.Wait(t, testkit.Patience); status != 0 {
		t.Errorf("%s: exit status %d", s.name, status)
	}
	for _, line := range s.Stdout.Lines(0) {
		if e := kit.ParseEvent(line); e["event"] == "exit" {
			return acks{e["asked"].(float64), e["answered"].(float64), e["unanswered"].(float64)}
		}
	}
	t.Fatalf("%s has not said what it counted", s.name)
	return a
}

// startBoard starts two servers and the balancer with the file of the example.
func startBoard(t testing.TB) (*kit.Balancer, []*server) {
	t.Helper()
	text, err := os.ReadFile(kit.ModulePath("examples/socketio/holdfast.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	redis := redistest.Start(t)
	replace := []string{"127.0.0.1:8080", "127.0.0.1:0", "127.0.0.1:9900", "127.0.0.1:0", "format: text, level: warn", "level: info", "spread: 2s", "spread: 1s", "fall: 5", "fall: 100"}
	var servers []*server
	for i := range 2 {
		s := &server{name: fmt.Sprint("board-", i+1), redis: redis.URL()}
		s.start(t)
		servers = append(servers, s)
		replace = append(replace, fmt.Sprint("127.0.0.1:", 3001+i), fmt.Sprint("127.0.0.1:", s.port))
	}
	return kit.StartBalancer(t, strings.NewReplacer(replace...).Replace(string(text))), servers
}

//go:build unix

package chat

import (
	"cmp"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/redistest"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// chatServer is a process of examples/chat or of examples/node-chat.
type chatServer struct {
	*process.Process
	name    string
	address string // "" before the first start
	command func(t testing.TB, address string) *exec.Cmd
	ready   *regexp.Regexp // of a line with its port
}

// chatNotice is how long a chat server reports that it is about to stop, in
// seconds: longer than the health checks of chatFile need to see it.
const chatNotice = "3"

var buildChat = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(filepath.Dir(kit.Binary), "chat")
	return path, kit.Build(path, "examples/chat")
})

func startGoChat(t testing.TB, name string, redis *redistest.Server) *chatServer {
	t.Helper()
	path, err := buildChat()
	if err != nil {
		t.Fatalf("building examples/chat: %v", err)
	}
	s := &chatServer{name: name, ready: regexp.MustCompile(`serving address=\S+:(\d+)`)}
	s.command = func(_ testing.TB, address string) *exec.Cmd {
		return exec.Command(path, "--listen", cmp.Or(address, "127.0.0.1:0"), "--redis", redis.URL(), "--name", name, "--notice", chatNotice+"s")
	}
	s.start(t)
	return s
}

func startNodeChat(t testing.TB, name string, redis *redistest.Server) *chatServer {
	t.Helper()
	s := &chatServer{name: name, ready: regexp.MustCompile(`^listening on port (\d+)`)}
	s.command = func(t testing.TB, address string) *exec.Cmd {
		return kit.NodeExample(t, "node-chat", "--port", cmp.Or(strings.TrimPrefix(address, "127.0.0.1:"), "0"),
			"--redis", redis.URL(), "--name", name, "--notice", chatNotice)
	}
	s.start(t)
	return s
}

func (s *chatServer) start(t testing.TB) {
	t.Helper()
	s.Process = process.Start(t, s.name, s.command(t, s.address))
	out := s.Stderr // where Go logs
	if strings.HasPrefix(s.ready.String(), "^") {
		out = s.Stdout
	}
	line := out.Find(t, "port", 0, s.ready.MatchString)
	s.address = "127.0.0.1:" + s.ready.FindStringSubmatch(line)[1]
}

// stop ends the server as whoever deploys it does.
func (s *chatServer) stop(t testing.TB) {
	t.Helper()
	s.Signal(t, syscall.SIGTERM)
	if status := s.Wait(t, testkit.Patience); status != 0 {
		t.Errorf("%s: exit status %d", s.name, status)
	}
}

// chatFile is a configuration with a pool "chat" of these servers.
func chatFile(engine string, servers ...*chatServer) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
pools:
  chat:
    reattach: {on: [drain, loss], timeout: 10s}
    health: {http: {path: /health}, interval: 500ms, timeout: 450ms}
    drain: {timeout: 5s, spread: 1s}
    backends:
`, engine)
	for _, s := range servers {
		fmt.Fprintf(&b, "      - {name: %s, address: %q}\n", s.name, s.address)
	}
	return b.String()
}

// awaitUp waits until servers are up and have passed a check: before the first one they
// count as up, too, and a slow one may be down after it.
func awaitUp(t testing.TB, b *kit.Balancer, servers ...*chatServer) {
	t.Helper()
	for _, s := range servers {
		b.AwaitMetrics(t, s.name+" up", func(m kit.Metrics) bool {
			return m[fmt.Sprintf(`holdfast_backend_state{backend=%q,pool="chat",state="up"}`, s.name)] == 1 &&
				m[fmt.Sprintf(`holdfast_health_checks_total{backend=%q,pool="chat",result="passed"}`, s.name)] > 0
		})
	}
}

// rollChat restarts a chat server as a deploy script does, and calls meanwhile
// during the restart.
func rollChat(t testing.TB, b *kit.Balancer, s *chatServer, meanwhile func()) {
	t.Helper()
	b.Command(t, 0, "drain", "chat/"+s.name)
	if meanwhile != nil {
		meanwhile()
	}
	b.Command(t, 0, "drain", "chat/"+s.name, "--wait")
	s.stop(t)
	s.start(t)
	b.Command(t, 0, "undrain", "chat/"+s.name)
	awaitUp(t, b, s)
}

//go:build unix

package e2e

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
)

// chatServer is a process of examples/chat or of examples/node-chat.
type chatServer struct {
	*process
	name    string
	address string // "" before the first start
	command func(t testing.TB, address string) *exec.Cmd
	ready   *regexp.Regexp // of a line with its port
}

// chatNotice is how long a chat server that is told to stop says so: longer
// than the health checks of chatFile take to hear it.
const chatNotice = "3"

var buildChat = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(filepath.Dir(holdfast), "chat")
	return path, build(path, "examples/chat")
})

func startGoChat(t testing.TB, name string, redis *redisServer) *chatServer {
	t.Helper()
	path, err := buildChat()
	if err != nil {
		t.Fatalf("building examples/chat: %v", err)
	}
	s := &chatServer{name: name, ready: regexp.MustCompile(`serving address=\S+:(\d+)`)}
	s.command = func(_ testing.TB, address string) *exec.Cmd {
		return exec.Command(path, "--listen", cmp.Or(address, "127.0.0.1:0"), "--redis", redis.url(), "--name", name, "--notice", chatNotice+"s")
	}
	s.start(t)
	return s
}

func startNodeChat(t testing.TB, name string, redis *redisServer) *chatServer {
	t.Helper()
	s := &chatServer{name: name, ready: regexp.MustCompile(`^listening on port (\d+)`)}
	s.command = func(t testing.TB, address string) *exec.Cmd {
		return nodeExample(t, "node-chat", "--port", cmp.Or(strings.TrimPrefix(address, "127.0.0.1:"), "0"),
			"--redis", redis.url(), "--name", name, "--notice", chatNotice)
	}
	s.start(t)
	return s
}

func (s *chatServer) start(t testing.TB) {
	t.Helper()
	s.process = start(t, s.name, s.command(t, s.address))
	out := s.stderr // where Go logs
	if strings.HasPrefix(s.ready.String(), "^") {
		out = s.stdout
	}
	line := out.find(t, "port", 0, s.ready.MatchString)
	s.address = "127.0.0.1:" + s.ready.FindStringSubmatch(line)[1]
}

// stop ends the server as whoever deploys it does.
func (s *chatServer) stop(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGTERM)
	if status := s.wait(t, patience); status != 0 {
		t.Errorf("%s: exit status %d", s.name, status)
	}
}

// chatFile has a pool "chat" of these servers, under their names.
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

func (b *balancer) awaitUp(t testing.TB, servers ...*chatServer) {
	t.Helper()
	for _, s := range servers {
		b.await(t, s.name+" up", func(m metrics) bool {
			return m[fmt.Sprintf(`holdfast_backend_state{backend=%q,pool="chat",state="up"}`, s.name)] == 1
		})
	}
}

// rollChat does with a chat server what a deploy script does, and something
// else meanwhile.
func (b *balancer) rollChat(t testing.TB, s *chatServer, meanwhile func()) {
	t.Helper()
	b.holdfast(t, 0, "drain", "chat/"+s.name)
	if meanwhile != nil {
		meanwhile()
	}
	b.holdfast(t, 0, "drain", "chat/"+s.name, "--wait")
	s.stop(t)
	s.start(t)
	b.holdfast(t, 0, "undrain", "chat/"+s.name)
	b.awaitUp(t, s)
}

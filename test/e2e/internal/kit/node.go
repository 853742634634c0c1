//go:build unix

package kit

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit/process"
)

// Node returns a command that runs a script of test/e2e/node.
func Node(t testing.TB, script string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("Node.js is missing: run scripts/setup-tests.sh")
	}
	for _, module := range []string{"ws", "playwright-core", "axe-core", "socket.io", "yjs"} {
		if _, err := os.Stat(filepath.Join(ModulePath("test/e2e/node"), "node_modules", module, "package.json")); err != nil {
			t.Fatalf("the npm package %s is missing: run scripts/setup-tests.sh", module)
		}
	}
	return exec.Command(program, append([]string{filepath.Join(ModulePath("test/e2e/node"), script)}, args...)...)
}

// Chromium is the path of the browser: of its headless shell, if it is installed, which
// needs a sixth of the CPU time for a new page, and next to none for one that does nothing.
func Chromium(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium-headless-shell", "chromium"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("Chromium is missing: run scripts/setup-tests.sh")
	return ""
}

// NodeServer is a running node/server.js.
type NodeServer struct {
	*process.Process
	Address string
}

// StartNodeServer starts node/server.js, with additions to its environment, such as
// that of WithTLS.
func StartNodeServer(t testing.TB, env ...string) *NodeServer {
	t.Helper()
	cmd := Node(t, "server.js")
	cmd.Env = append(os.Environ(), env...)
	s := &NodeServer{Process: process.Start(t, "node server", cmd)}
	event := s.Event(t, "listening", "")
	s.Address = event["address"].(string)
	return s
}

// Event waits for an event, of the session id if that isn't "".
func (s *NodeServer) Event(t testing.TB, event, id string) (e map[string]any) {
	t.Helper()
	s.Stdout.Find(t, fmt.Sprintf("event %q of %q", event, id), 0, func(line string) bool {
		e = ParseEvent(line)
		return e["event"] == event && (id == "" || e["id"] == id)
	})
	return e
}

// ParseEvent parses a line that a script printed. It returns nil if the line
// isn't a JSON object.
func ParseEvent(line string) (e map[string]any) {
	if json.Unmarshal([]byte(line), &e) != nil {
		return nil
	}
	return e
}

// Scenario runs one scenario of node/client.js and returns what it printed.
func Scenario(t testing.TB, address, name string) string {
	t.Helper()
	cmd := Node(t, "client.js", address, name)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scenario %s: %v\n%s", name, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// SameJSON compares documents by their values.
func SameJSON(t testing.TB, what, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%s: %q: %v", what, got, err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%s: %q: %v", what, want, err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

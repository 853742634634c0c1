//go:build unix

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// node is a command that runs one of the scripts in the directory node.
func node(t testing.TB, script string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("Node.js is missing: run scripts/setup-tests.sh")
	}
	for _, module := range []string{"ws", "playwright-core"} {
		if _, err := os.Stat(filepath.Join("node", "node_modules", module, "package.json")); err != nil {
			t.Fatalf("the npm package %s is missing: run scripts/setup-tests.sh", module)
		}
	}
	return exec.Command(program, append([]string{filepath.Join("node", script)}, args...)...)
}

// nodeServer is a running node/server.js.
type nodeServer struct {
	*process
	address string
}

func startNodeServer(t testing.TB) *nodeServer {
	t.Helper()
	s := &nodeServer{process: start(t, "node server", node(t, "server.js"))}
	event := s.event(t, "listening", "")
	s.address = event["address"].(string)
	return s
}

// event waits for an event of the session id.
func (s *nodeServer) event(t testing.TB, event, id string) (e map[string]any) {
	t.Helper()
	s.stdout.find(t, fmt.Sprintf("event %q of %q", event, id), 0, func(line string) bool {
		e = parseEvent(line)
		return e["event"] == event && (id == "" || e["id"] == id)
	})
	return e
}

// parseEvent is nil where line is no JSON object.
func parseEvent(line string) (e map[string]any) {
	if json.Unmarshal([]byte(line), &e) != nil {
		return nil
	}
	return e
}

// scenario runs one scenario of node/client.js and returns what it printed.
func scenario(t testing.TB, address, name string) string {
	t.Helper()
	cmd := node(t, "client.js", address, name)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scenario %s: %v\n%s", name, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// sameJSON compares documents by their values.
func sameJSON(t testing.TB, what, got, want string) {
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

//go:build unix

package frameworks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// buildNATS builds the server, which stays in Go's build cache, and returns its path. It is
// the one of the go.mod in the folder nats.
var buildNATS = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-n", "nats-server")
	cmd.Dir = kit.ModulePath("test/e2e/frameworks/nats")
	cmd.Stderr = os.Stderr
	path, err := cmd.Output()
	return string(bytes.TrimSpace(path)), err
})

// startNATS starts a cluster of servers. The process with the clients sends the events, by a
// connection of its own to the last one, which is neither drained nor killed.
func startNATS(t *testing.T) *servers {
	t.Helper()
	binary, err := buildNATS()
	if err != nil {
		t.Fatalf("building the NATS server: %v (does scripts/setup-tests.sh work?)", err)
	}
	s := &servers{addresses: map[string]string{}}
	running := map[string]*process.Process{}
	route := ""
	for _, name := range names {
		dir := t.TempDir()
		config := fmt.Sprintf(`
			server_name: %s
			listen: "127.0.0.1:-1"
			websocket { listen: "127.0.0.1:-1", no_tls: true }
			cluster { name: test, listen: "127.0.0.1:-1", no_advertise: true, routes: [%s] }
			ports_file_dir: %q`, name, route, dir)
		file := filepath.Join(dir, "nats.conf")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		running[name] = process.Start(t, "NATS server "+name, exec.Command(binary, "-c", file))
		var ports struct{ Websocket, Cluster []string }
		testkit.Eventually(t, "the ports of the NATS server "+name, func() bool {
			found, _ := filepath.Glob(filepath.Join(dir, "*.ports"))
			if len(found) == 0 {
				return false
			}
			text, err := os.ReadFile(found[0])
			return err == nil && json.Unmarshal(text, &ports) == nil && len(ports.Websocket) > 0 && len(ports.Cluster) > 0
		})
		s.addresses[name] = strings.TrimPrefix(ports.Websocket[0], "ws://")
		route = fmt.Sprintf("%q", ports.Cluster[0])
	}
	s.more = []string{"NATS_PUBLISH_TO=ws://" + s.addresses[names[len(names)-1]]}
	for _, name := range names {
		running[name].Stderr.Find(t, "routes to both others", 0, func(line string) bool { return strings.Contains(line, "Route connection created") })
	}
	s.kill = func(t *testing.T, name string) { running[name].Kill(t) }
	return s
}

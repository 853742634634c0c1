//go:build unix

package frameworks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// group is a process with clients of a pool.
type group struct {
	*process.Process
	pool string
	n    int
}

// events are what they have printed.
func (g *group) events(t *testing.T) (all []map[string]any) {
	t.Helper()
	for _, line := range g.Stdout.Lines(0) {
		e := kit.ParseEvent(line)
		if e["event"] == "failed" {
			t.Fatalf("a client of %s gave up: %s", g.pool, line)
		}
		if e != nil {
			all = append(all, e)
		}
	}
	return all
}

// places are the servers that send the events, by client.
func (g *group) places(t *testing.T) map[float64]string {
	t.Helper()
	all := map[float64]string{}
	for _, e := range g.events(t) {
		if e["event"] == "at" {
			all[e["client"].(float64)] = e["server"].(string)
		}
	}
	return all
}

// has says whether a server sends the events of a client.
func (g *group) has(t *testing.T, server string) bool {
	t.Helper()
	for _, place := range g.places(t) {
		if place == server {
			return true
		}
	}
	return false
}

// again are the clients that have events of the same source by a second WebSocket.
func (g *group) again(t *testing.T) map[float64]bool {
	t.Helper()
	all, sources := map[float64]bool{}, map[float64]any{}
	for _, e := range g.events(t) {
		if e["event"] != "events" {
			continue
		}
		client := e["client"].(float64)
		if source, ok := sources[client]; !ok {
			sources[client] = e["source"]
		} else if source == e["source"] {
			all[client] = true
		} else {
			t.Fatalf("client %v of %s has begun another session: %v", client, g.pool, e)
		}
	}
	return all
}

// lost is the number of events that they have missed and didn't get later.
func (g *group) lost(t *testing.T) (n int) {
	t.Helper()
	for _, e := range g.events(t) {
		if e["event"] == "gap" {
			lost, _ := e["lost"].(float64)
			n += int(lost)
		}
	}
	return n
}

// documented is the configuration below a heading.
func documented(t *testing.T, heading string) (file map[string]any) {
	t.Helper()
	text, err := os.ReadFile(kit.ModulePath(filepath.Join("docs", "frameworks.md")))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if ok {
		_, section, ok = strings.Cut(section, "```yaml\n")
	}
	section, _, _ = strings.Cut(section, "```")
	if err := yaml.Unmarshal([]byte(section), &file); !ok || err != nil {
		t.Fatalf("docs/frameworks.md: %q: %v", heading, err)
	}
	return file
}

// setBackends gives a pool the addresses of servers, and checks them often.
func setBackends(file map[string]any, pool string, addresses map[string]string) {
	p := file["pools"].(map[string]any)[pool].(map[string]any)
	var all []any
	for _, name := range names {
		all = append(all, map[string]any{"name": name, "address": addresses[name]})
	}
	p["backends"] = all
	p["health"].(map[string]any)["interval"] = "1s"
	p["health"].(map[string]any)["timeout"] = "900ms"
}

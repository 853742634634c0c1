//go:build unix

// Package recipes tests the configurations of docs/recipes.md with the servers and the
// clients that they are for.
package recipes

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

const clients = 6

// TestRecipes: clients of each library use a recipe, and come back by themselves when
// their server is drained: none gives up, and none stays behind.
func TestRecipes(t *testing.T) {
	for _, r := range []struct {
		heading, kind string
		pool, pool2   string // of the backends, and of those for TCP
	}{
		{"## Socket.IO", "socketio", "chat", ""},
		{"## GraphQL subscriptions", "graphql", "api", ""},
		{"## MQTT", "mqtt", "brokers", "brokers-tcp"},
	} {
		t.Run(r.kind, func(t *testing.T) {
			t.Parallel()
			servers := process.Start(t, r.kind+" servers", kit.Node(t, "frameworks.js", "servers", r.kind, "a", "b"))
			addresses, tcp := map[string]string{}, map[string]string{}
			for _, name := range []string{"a", "b"} {
				servers.Stdout.Find(t, "the server "+name, 0, func(line string) bool {
					e := kit.ParseEvent(line)
					if e["name"] != name {
						return false
					}
					addresses[name], _ = e["address"].(string)
					tcp[name], _ = e["tcp"].(string)
					return true
				})
			}
			file := recipe(t, r.heading)
			setBackends(file, r.pool, addresses)
			if r.pool2 != "" {
				setBackends(file, r.pool2, tcp)
			}
			for _, l := range file["listeners"].([]any) {
				l.(map[string]any)["address"] = "127.0.0.1:0"
			}
			file["admin"] = map[string]any{"address": "127.0.0.1:0"}
			text, err := yaml.Marshal(file)
			if err != nil {
				t.Fatal(err)
			}
			b := kit.StartBalancer(t, string(text))
			use(t, b, r.kind, "http://"+b.Address, r.pool)
			if r.pool2 != "" {
				_, port, _ := strings.Cut(b.LogEntries("started")[0]["listeners"].([]any)[1].(string), ":")
				use(t, b, r.kind, "mqtt://127.0.0.1:"+port, r.pool2)
			}
		})
	}
}

// use has clients, and drains the server of some of them.
func use(t *testing.T, b *kit.Balancer, kind, url, pool string) {
	t.Helper()
	users := process.Start(t, kind+" clients", kit.Node(t, "frameworks.js", "clients", kind, url, strconv.Itoa(clients)))
	where := func() map[float64]string {
		all := map[float64]string{}
		for _, line := range users.Stdout.Lines(0) {
			switch e := kit.ParseEvent(line); e["event"] {
			case "at":
				all[e["client"].(float64)] = e["server"].(string)
			case "failed":
				t.Fatalf("%s: %s", url, line)
			}
		}
		return all
	}
	testkit.Eventually(t, "answers for all clients of "+url, func() bool { return len(where()) == clients })
	first := where()[0]
	b.Command(t, 0, "drain", pool+"/"+first, "--timeout", "2s")
	testkit.Eventually(t, "all clients of "+url+" at the other server", func() bool {
		for _, server := range where() {
			if server == first {
				return false
			}
		}
		return true
	})
	b.Command(t, 0, "undrain", pool+"/"+first)
}

// recipe is the configuration below a heading.
func recipe(t *testing.T, heading string) (file map[string]any) {
	t.Helper()
	text, err := os.ReadFile(kit.ModulePath(filepath.Join("docs", "recipes.md")))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if ok {
		_, section, ok = strings.Cut(section, "```yaml\n")
	}
	section, _, _ = strings.Cut(section, "```")
	if err := yaml.Unmarshal([]byte(section), &file); !ok || err != nil {
		t.Fatalf("docs/recipes.md: %q: %v", heading, err)
	}
	return file
}

// setBackends gives a pool the addresses of servers, and checks them often.
func setBackends(file map[string]any, pool string, addresses map[string]string) {
	p := file["pools"].(map[string]any)[pool].(map[string]any)
	var all []any
	for _, name := range []string{"a", "b"} {
		all = append(all, map[string]any{"name": name, "address": addresses[name]})
	}
	p["backends"] = all
	p["health"].(map[string]any)["interval"] = "1s"
	p["health"].(map[string]any)["timeout"] = "900ms"
}

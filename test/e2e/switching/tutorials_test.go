//go:build linux

package switching

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// tutorial is a configuration as tutorials have it. It runs unchanged.
type tutorial struct {
	file    string
	servers []string            // addresses of what its pool has
	names   map[string][]string // of them
	listens string
	path    string // of its WebSockets
	keeps   string // what keeps a client on its server: its address, a cookie, or nothing
	report  []string
	checked bool // by HTTP
	host    string
}

var tutorials = []tutorial{
	{
		file: "nginx.conf", servers: []string{"10.0.0.1:8080", "10.0.0.2:8080"},
		names: map[string][]string{"backend1.example.com": {"10.0.0.1"}, "backend2.example.com": {"10.0.0.2"}},
		path:  "/ws", keeps: "address", host: "ws.example.com",
		report: []string{"hash $remote_addr consistent: the same key stays on one backend"},
	},
	{
		file: "loop.cfg", servers: []string{"10.0.0.1:8080", "10.0.0.2:8080"},
		names: map[string][]string{"ws1.internal": {"10.0.0.1"}, "ws2.internal": {"10.0.0.2"}},
		path:  "/any", checked: true, host: "ws.example.com",
		report: []string{"use_backend ws_backend if is_websocket: HAProxy ignores it in this section"},
	},
	{
		file: "http.cfg", servers: []string{"10.0.0.1:8080", "10.0.0.2:8080"},
		names: map[string][]string{"ws1.internal": {"10.0.0.1"}, "ws2.internal": {"10.0.0.2"}, "web1.internal": {"10.0.0.3"}},
		path:  "/any", host: "any.example.com",
	},
	{
		file: "ingress.yaml", servers: []string{"10.0.0.1:8080", "10.0.0.2:8080"},
		names: map[string][]string{"websocket-service.default.svc.cluster.local": {"10.0.0.1", "10.0.0.2"}},
		path:  "/", keeps: "cookie", host: "ws.example.com",
		report: []string{"session-cookie-name: route"},
	},
}

// TestTutorials: the files run as they are. Names are looked up, WebSockets of Node's ws
// and of clients at several addresses pass, and clients are kept where the file says so.
func TestTutorials(t *testing.T) {
	for _, c := range tutorials {
		t.Run(c.file, func(t *testing.T) {
			isolated(t, func(t *testing.T) *tally {
				c.run(t)
				return &tally{}
			})
		})
	}
}

func (c tutorial) run(t *testing.T) {
	c.names[c.host] = []string{"127.0.0.1"} // for Node's client
	serveNames(t, c.names)
	rec := startRecorder(t, &tls.Config{}, append([]string{"10.0.0.3:3000"}, c.servers...))
	text, err := os.ReadFile(filepath.Join("testdata/tutorials", c.file))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), c.file) // the balancer keeps its state beside it
	write(t, path, string(text))
	for _, want := range c.report {
		if o := kit.Run(t, "check", "-c", path); o.Status != 0 || !strings.Contains(o.Stdout+o.Stderr, want) {
			t.Errorf("holdfast check has status %d and no %q:\n%s%s", o.Status, want, o.Stdout, o.Stderr)
		}
	}
	b := &kit.Balancer{Process: kit.StartHoldfast(t, "run", "-c", path, "--admin", "127.0.0.1:0")}
	b.AwaitReady(t)
	b.AwaitMetrics(t, "both servers are up", func(m kit.Metrics) bool {
		up := 0
		for series, value := range m {
			if value == 1 && strings.HasPrefix(series, "holdfast_backend_state{") && strings.Contains(series, `state="up"`) {
				up++
			}
		}
		return up >= len(c.servers)
	})
	out, err := kit.Node(t, "ask.js", "ws://"+c.host+c.path).Output()
	if err != nil || string(out) != "hello" {
		t.Errorf("Node's client: %v: %s", err, out)
	}
	used := map[string]bool{}
	for i := range 20 {
		r := request{Client: fmt.Sprintf("203.0.113.%d", i+1), Listener: listener{Address: ":80"}, WebSocket: true, Method: "GET", Path: c.path, Host: c.host}
		first := send(r, fmt.Sprint(i), rec)
		if !first.Echo || len(first.Seen) != 1 {
			t.Fatalf("%v: %+v", r, first)
		}
		if !strings.HasSuffix(first.Seen[0].Backend, ":8080") || first.Seen[0].Path != c.path || first.Seen[0].Host != c.host {
			t.Errorf("%v came as %+v", r, first.Seen[0])
		}
		used[first.Seen[0].Backend] = true
		if c.keeps == "cookie" {
			if len(first.Value) != 1 {
				t.Fatalf("%v: cookies %q", r, first.Value)
			}
			r.Header = []string{"Cookie: " + first.Value[0]}
			r.Client = "198.51.100.1" // the cookie counts, and not the address
		}
		for range 3 {
			again := send(r, fmt.Sprint(i), rec)
			if !again.Echo || len(again.Seen) != 1 || c.keeps != "" && again.Seen[0].Backend != first.Seen[0].Backend {
				t.Fatalf("%v: first %+v, then %+v", r, first, again)
			}
			used[again.Seen[0].Backend] = true
		}
	}
	if len(used) != len(c.servers) {
		t.Errorf("only %v were used", used)
	}
	if c.checked && rec.checks() == 0 {
		t.Error("no health check came")
	}
	if c.file == "nginx.conf" {
		r := request{Client: "203.0.113.1", Listener: listener{Address: ":80"}, WebSocket: true, Method: "GET", Path: "/ws", Host: c.host}
		if res := send(r, "last", rec); len(res.Seen) != 1 || list(res.Seen[0].Header["x-forwarded-for"]) != `"203.0.113.1"` {
			t.Errorf("%+v", res)
		}
	}
}

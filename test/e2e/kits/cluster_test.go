//go:build unix

package kits

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/redistest"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// installed wants the npm packages of a kit.
func installed(t testing.TB, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(kit.ModulePath(dir), "node_modules/.package-lock.json")); err != nil {
		t.Fatalf("the npm packages of %s are missing: run scripts/setup-tests.sh", dir)
	}
}

// testPackage runs the tests of a kit itself, in which a test plays the balancer.
func testPackage(t *testing.T, dir string) {
	t.Helper()
	installed(t, dir)
	cmd := exec.Command("npm", "test")
	cmd.Dir = kit.ModulePath(dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("npm test in %s: %v\n%s", dir, err, out)
	}
}

// peer is a script of a kit's tests.
func peer(t testing.TB, dir, script string, args ...string) *process.Process {
	t.Helper()
	installed(t, dir)
	return process.Start(t, script, kit.Node(t, filepath.Join("../../..", dir, "test/peers", script), args...))
}

// event waits for an event of a script.
func event(t testing.TB, p *process.Process, name string, from int) (e map[string]any) {
	t.Helper()
	p.Stdout.Find(t, "event "+name, from, func(line string) bool {
		e = kit.ParseEvent(line)
		return e["event"] == name
	})
	return e
}

// cluster is servers with a kit behind a balancer.
type cluster struct {
	t       testing.TB
	dir     string  // of the kit
	sockets float64 // that each session has
	redis   *redistest.Server
	options string
	servers []*process.Process
	balance *kit.Balancer
	clients *process.Process
	killed  *process.Process
	n       int
}

// start starts servers and clients, which send a message each so many milliseconds.
// patience is how long the clients wait for their last answers.
func (c *cluster) start(servers, every int, patience time.Duration, keys []string, args ...string) {
	c.t.Helper()
	var backends []*kit.Backend
	for i := range servers {
		backends = append(backends, &kit.Backend{Address: c.startServer(i)})
	}
	c.balance = kit.StartBalancer(c.t, kit.DrainFile("auto", backends, append(keys,
		"health: {http: {path: /health}, interval: 10s, timeout: 9s}",
	)...))
	c.clients = peer(c.t, c.dir, "clients.js", append([]string{"http://" + c.balance.Address,
		strconv.Itoa(c.n), strconv.Itoa(every), strconv.Itoa(int(patience.Milliseconds()))}, args...)...)
	event(c.t, c.clients, "settled", 0)
	c.balance.AwaitSessions(c.t, c.n) // all have a WebSocket
}

// startServer starts server i, and returns its address.
func (c *cluster) startServer(i int) string {
	p := peer(c.t, c.dir, "server.js", kit.BackendName(i), c.redis.URL(), c.options)
	if i < len(c.servers) {
		c.servers[i] = p
	} else {
		c.servers = append(c.servers, p)
	}
	return event(c.t, p, "listening", 0)["address"].(string)
}

// drain moves all sessions away from a server.
func (c *cluster) drain(i int) {
	c.t.Helper()
	name := "main/" + kit.BackendName(i)
	c.balance.Command(c.t, 0, "drain", name, "--wait")
	c.balance.Command(c.t, 0, "undrain", name)
}

// finish ends the clients and returns their counts and the sum of the servers'.
func (c *cluster) finish() (clients, servers map[string]float64) {
	c.t.Helper()
	// A move is counted when the new server has kept the session for a second.
	testkit.Eventually(c.t, "all moves done", func() bool {
		return c.counts()["reattached"] == c.sockets*c.balance.Metrics(c.t).Moves("", "moved")
	})
	c.clients.Stdin.Close()
	clients = numbers(event(c.t, c.clients, "counts", 0))
	servers = c.counts()
	c.t.Logf("clients: %v", clients)
	c.t.Logf("servers: %v", servers)
	return clients, servers
}

// counts is the sum of what the servers have counted.
func (c *cluster) counts() map[string]float64 {
	c.t.Helper()
	sum := map[string]float64{}
	for _, p := range c.servers {
		if p == c.killed {
			continue
		}
		from := p.Stdout.Position()
		p.Signal(c.t, syscall.SIGUSR2)
		for key, n := range numbers(event(c.t, p, "counts", from)) {
			sum[key] += n
		}
	}
	return sum
}

func numbers(e map[string]any) map[string]float64 {
	all := map[string]float64{}
	for key, value := range e {
		if n, ok := value.(float64); ok {
			all[key] = n
		}
	}
	return all
}

// complaints fails the test for each event with one of the names.
func (c *cluster) complaints(names ...string) {
	c.t.Helper()
	for _, p := range append(c.servers, c.clients) {
		for _, line := range p.Stdout.Lines(0) {
			name, _ := kit.ParseEvent(line)["event"].(string)
			atEnd := name == "disconnect" && p != c.clients // of clients that have finished
			if slices.Contains(names, name) && !atEnd {
				c.t.Errorf("%s: %s", p.Name, line)
			}
		}
	}
}

// gaps logs for how long clients weren't read.
func (c *cluster) gaps() {
	c.t.Helper()
	var all []time.Duration
	for _, e := range c.balance.LogEntries("session moved") {
		if gap, ok := e["gap"].(float64); ok {
			all = append(all, time.Duration(gap*float64(time.Second)).Round(time.Millisecond/10))
		}
	}
	for _, e := range c.balance.LogEntries("session not moved") {
		c.t.Logf("not moved: %v", e)
	}
	if len(all) == 0 {
		c.t.Fatal("no session was moved")
	}
	slices.Sort(all)
	c.t.Logf("%d moves, gap p50 %v, p99 %v, max %v", len(all), all[len(all)/2], all[len(all)*99/100], all[len(all)-1])
}

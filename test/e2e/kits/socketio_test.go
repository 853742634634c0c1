//go:build unix

package kits

import (
	"encoding/json"
	"maps"
	"os"
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

// scaleEnv multiplies the clients and the rounds of these tests. If it is set, handlers
// answer soon, so that the gaps are those of the moves.
const scaleEnv = "HOLDFAST_E2E_SOCKETIO"

const every = 100 // ms between two messages of a client, and of a server to each client

func scale() int {
	if n, err := strconv.Atoi(os.Getenv(scaleEnv)); err == nil && n > 0 {
		return n
	}
	return 1
}

// socketIO is the folder of the kit.
const socketIO = "kits/socketio"

// installed wants the npm packages of the kit.
func installed(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(kit.ModulePath(socketIO), "node_modules/.package-lock.json")); err != nil {
		t.Fatalf("the npm packages of %s are missing: run scripts/setup-tests.sh", socketIO)
	}
}

// peer is a script of the kit's tests.
func peer(t testing.TB, script string, args ...string) *process.Process {
	t.Helper()
	installed(t)
	return process.Start(t, script, kit.Node(t, filepath.Join("../../..", socketIO, "test/peers", script), args...))
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

// variant is a configuration of servers.
type variant struct {
	name    string
	options map[string]any
}

var variants = []variant{
	{"recovery off", map[string]any{}},
	{"recovery on, ioredis", map[string]any{"recovery": "run", "ioredis": true}},
	{"middlewares skipped, socket.io 4.8.0", map[string]any{"recovery": "skip", "library": "socket.io-4.8.0"}},
}

// cluster is servers of Socket.IO behind a balancer.
type cluster struct {
	t       testing.TB
	redis   *redistest.Server
	options string
	servers []*process.Process
	balance *kit.Balancer
	clients *process.Process
	killed  *process.Process
	n       int
}

// start starts servers and clients. patience is how long the clients wait for their last acks.
func start(t *testing.T, v variant, servers, clients int, patience time.Duration, keys ...string) *cluster {
	t.Helper()
	all := map[string]any{"every": every}
	if os.Getenv(scaleEnv) != "" {
		all["slow"] = 30
	}
	maps.Copy(all, v.options)
	options, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, redis: redistest.Start(t), options: string(options), n: clients}
	var backends []*kit.Backend
	for i := range servers {
		backends = append(backends, &kit.Backend{Address: c.startServer(i)})
	}
	c.balance = kit.StartBalancer(t, kit.DrainFile("auto", backends, append(keys,
		"affinity: {cookie: {secret: 0123456789abcdef}}",
		"health: {http: {path: /health}, interval: 10s, timeout: 9s}",
	)...))
	c.clients = peer(t, "clients.js", "http://"+c.balance.Address, strconv.Itoa(clients), strconv.Itoa(every), strconv.Itoa(int(patience.Milliseconds())))
	event(t, c.clients, "settled", 0)
	c.balance.AwaitSessions(t, clients) // all have changed to WebSocket
	return c
}

// startServer starts server i, and returns its address.
func (c *cluster) startServer(i int) string {
	p := peer(c.t, "server.js", kit.BackendName(i), c.redis.URL(), c.options)
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
		return c.counts()["reattached"] == 2*c.balance.Metrics(c.t).Moves("", "moved")
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

// Clients notice nothing of drains and of a rebalance: every ack is given, in both
// directions, and nothing is lost, doubled or in another order.
func TestSocketIODrains(t *testing.T) {
	t.Parallel()
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			c := start(t, v, 2, 6*scale(), time.Minute, "reattach: {timeout: 1m}", "rebalance: {above: 10%, rate: 1000/s, min_age: 0, sticky: move}", "drain: {timeout: 20s, spread: 200ms}")
			c.drain(0)
			c.balance.AwaitMetrics(t, "rebalanced", func(m kit.Metrics) bool { return m.Moves("rebalance", "moved") > 0 })
			c.drain(1)
			for range 2 * (scale() - 1) { // the balancer doesn't rebalance again so soon
				c.drain(0)
				c.drain(1)
			}
			clients, servers := c.finish()
			c.gaps()
			c.complaints("disconnect", "connect_error", "sequence", "wrong", "unordered", "warning", "failed")
			if clients["answered"] != clients["asked"] || clients["asked"] == 0 {
				t.Errorf("%v of %v acks of servers", clients["answered"], clients["asked"])
			}
			if servers["answered"] != servers["asked"] {
				t.Errorf("%v of %v acks of clients", servers["answered"], servers["asked"])
			}
			if clients["websockets"] != float64(c.n) {
				t.Errorf("%v of %v clients have WebSockets", clients["websockets"], c.n)
			}
			if servers["moved"] == 0 || servers["moved"] != servers["reattached"] {
				t.Errorf("%v sockets left and %v arrived", servers["moved"], servers["reattached"])
			}
		})
	}
}

// Clients stay connected when their server is killed.
func TestSocketIOKilled(t *testing.T) {
	t.Parallel()
	for _, v := range variants[:min(2, scale())] {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			c := start(t, v, 3, 9*scale(), 2*time.Second, "reattach: {timeout: 1m}")
			c.killed = c.servers[0]
			c.killed.Kill(t)
			c.balance.AwaitMetrics(t, "moves", func(m kit.Metrics) bool { return m.Moves("loss", "moved") >= float64(c.n)/3 })
			time.Sleep(time.Second) // messages after the kill
			clients, servers := c.finish()
			c.gaps()
			c.complaints("disconnect", "connect_error", "wrong", "failed")
			twice := 0
			for _, line := range c.clients.Stdout.Lines(0) {
				e := kit.ParseEvent(line)
				if e["what"] != "news" {
					continue
				}
				if e["number"].(float64) > e["before"].(float64) {
					t.Errorf("a broadcast was lost: %s", line)
				}
				twice++
			}
			t.Logf("%d broadcasts twice", twice)
			if clients["websockets"] != float64(c.n) || servers["reattached"] < 2*float64(c.n)/3 {
				t.Errorf("%v of %v clients have WebSockets, %v sockets arrived", clients["websockets"], c.n, servers["reattached"])
			}
		})
	}
}

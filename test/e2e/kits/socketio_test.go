//go:build unix

package kits

import (
	"encoding/json"
	"maps"
	"os"
	"strconv"
	"testing"
	"time"

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
	c := &cluster{t: t, dir: socketIO, sockets: 2, redis: redistest.Start(t), options: string(options), n: clients}
	c.start(servers, every, patience, append(keys, "affinity: {cookie: {secret: 0123456789abcdef}}"))
	return c
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

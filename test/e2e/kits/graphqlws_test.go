//go:build unix

package kits

import (
	"encoding/json"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit/redistest"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// graphQL is the folder of the kit.
const graphQL = "kits/graphql-ws"

// graphQLScaleEnv multiplies the clients and the rounds of these tests. If it is set, they
// also measure servers without cursors.
const graphQLScaleEnv = "HOLDFAST_E2E_GRAPHQL"

func graphQLScale() int {
	if n, err := strconv.Atoi(os.Getenv(graphQLScaleEnv)); err == nil && n > 0 {
		return n
	}
	return 1
}

func startGraphQL(t *testing.T, servers, clients int, patience time.Duration, options map[string]any, keys ...string) *cluster {
	t.Helper()
	text, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: graphQL, sockets: 1, redis: redistest.Start(t), options: string(text), n: clients}
	c.start(servers, 100, patience, append(keys, "reattach: {timeout: 1m}"), c.redis.URL())
	return c
}

// check fails the test if a client was disconnected, or got an error.
func (c *cluster) check(clients map[string]float64, complaints ...string) {
	c.t.Helper()
	c.gaps()
	c.complaints(append(complaints, "closed", "error", "wrong", "failed")...)
	if n := float64(c.n); clients["connected"] != n || clients["closed"] != 0 || clients["errors"] != 0 {
		c.t.Errorf("%v of %v clients connected, %v were disconnected, %v got an error", clients["connected"], n, clients["closed"], clients["errors"])
	}
	if clients["events"] == 0 || clients["asked"] == 0 || clients["begun"] == 0 {
		c.t.Error("nothing was tested")
	}
}

// drains moves all sessions to and fro, and rebalances them.
func (c *cluster) drains(rounds int) {
	c.t.Helper()
	c.drain(0)
	c.balance.AwaitMetrics(c.t, "rebalanced", func(m kit.Metrics) bool { return m.Moves("rebalance", "moved") >= float64(c.n)/2 })
	c.drain(1)
	for i := range 2 * (rounds - 1) { // the balancer doesn't rebalance again so soon
		c.drain(i % 2)
	}
}

// drainKeys are the keys of the pool for drains.
var drainKeys = []string{"rebalance: {above: 10%, rate: 1000/s, min_age: 0}", "drain: {timeout: 3m, spread: 200ms}"}

// Clients notice nothing of drains and of a rebalance: with cursors, no event is lost,
// doubled or in another order, each operation is completed once, and each mutation answered.
func TestGraphQLDrains(t *testing.T) {
	t.Parallel()
	c := startGraphQL(t, 2, 6*graphQLScale(), time.Minute, map[string]any{"library": "graphql-ws-6.0.0"}, drainKeys...)
	c.drains(graphQLScale())
	clients, _ := c.finish()
	c.check(clients, "sequence", "warning")
	if clients["lost"] != 0 || clients["doubled"] != 0 || clients["wrong"] != 0 {
		t.Errorf("%v events lost, %v doubled; %v values wrong", clients["lost"], clients["doubled"], clients["wrong"])
	}
	if clients["answered"] != clients["asked"] || clients["completed"] != clients["begun"] {
		t.Errorf("%v of %v mutations answered, %v of %v subscriptions completed", clients["answered"], clients["asked"], clients["completed"], clients["begun"])
	}
}

// Clients stay connected when their server is killed. With cursors, no event is lost.
func TestGraphQLKilled(t *testing.T) {
	t.Parallel()
	c := startGraphQL(t, 3, 6*graphQLScale(), 2*time.Second, map[string]any{"ioredis": true})
	c.killOne()
	clients, _ := c.finish()
	c.check(clients)
	if clients["lost"] != 0 {
		t.Errorf("%v events lost", clients["lost"])
	}
	if late := clients["asked"] - clients["answered"]; late > clients["asked"]/2 {
		t.Errorf("%v of %v mutations without an answer", late, clients["asked"])
	}
}

// killOne kills a server, and waits until its sessions have moved.
func (c *cluster) killOne() {
	c.t.Helper()
	c.killed = c.servers[0]
	c.killed.Kill(c.t)
	c.balance.AwaitMetrics(c.t, "moves", func(m kit.Metrics) bool { return m.Moves("loss", "moved") >= float64(c.n)/3 })
	time.Sleep(time.Second) // events after the kill
}

// What is lost and doubled without cursors is only counted.
func TestGraphQLWithoutCursor(t *testing.T) {
	if os.Getenv(graphQLScaleEnv) == "" {
		t.Log("only with " + graphQLScaleEnv)
		return
	}
	options := map[string]any{"cursor": false}
	t.Run("drains", func(t *testing.T) {
		c := startGraphQL(t, 2, 6*graphQLScale(), 2*time.Second, options, drainKeys...)
		c.drains(graphQLScale())
		clients, _ := c.finish()
		c.check(clients)
	})
	t.Run("killed", func(t *testing.T) {
		c := startGraphQL(t, 3, 6*graphQLScale(), 2*time.Second, options)
		c.killOne()
		clients, _ := c.finish()
		c.check(clients)
	})
}

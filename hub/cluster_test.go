package hub_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

func forEachPubSub(t *testing.T, test func(t *testing.T, sharded bool)) {
	for name, sharded := range map[string]bool{"plain": false, "sharded": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, sharded)
		})
	}
}

func newCluster(t *testing.T, replicas int) *redisCluster {
	t.Helper()
	c, err := startCluster(replicas)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	return c
}

// The slot of the room moves to another node and back while messages flow.
func TestClusterSlotMoves(t *testing.T) {
	t.Parallel()
	forEachPubSub(t, func(t *testing.T, sharded bool) {
		c := newCluster(t, 0)
		open := func(o hub.RedisOptions) hub.Hub {
			o.ShardedPubSub = sharded
			return c.hub(t, o)
		}
		moves := 0
		testDisturbed(t, open, func(done <-chan struct{}) {
			for {
				select {
				case <-done:
					if moves == 0 {
						t.Error("the slot wasn't moved")
					}
					return
				case <-time.After(50 * time.Millisecond):
					c.moveSlot(t, "holdfast:{room}")
					moves++
				}
			}
		})
	})
}

// moveSlot moves the slot of a key to the next master.
func (c *redisCluster) moveSlot(t testing.TB, key string) {
	ctx := longContext(t)
	try := func(err error) {
		if err != nil {
			t.Errorf("moving the slot: %v", err)
		}
	}
	slot := int(c.nodes[0].client.ClusterKeySlot(ctx, key).Val())
	from, to := c.owner(t, slot), (*clusterNode)(nil)
	for i, n := range c.nodes[:clusterMasters] {
		if n == from {
			to = c.nodes[(i+1)%clusterMasters]
		}
	}
	setSlot := func(n *clusterNode, args ...any) {
		try(n.client.Do(ctx, append([]any{"CLUSTER", "SETSLOT", slot}, args...)...).Err())
	}
	setSlot(to, "IMPORTING", from.id)
	setSlot(from, "MIGRATING", to.id)
	time.Sleep(20 * time.Millisecond) // messages flow meanwhile
	host, port, _ := net.SplitHostPort(to.addr)
	for {
		keys, err := from.client.ClusterGetKeysInSlot(ctx, slot, 100).Result()
		try(err)
		if len(keys) == 0 {
			break
		}
		migrate := []any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}
		for _, k := range keys {
			migrate = append(migrate, k)
		}
		try(from.client.Do(ctx, migrate...).Err())
	}
	time.Sleep(20 * time.Millisecond)
	setSlot(to, "NODE", to.id)
	for _, n := range c.nodes {
		setSlot(n, "NODE", to.id)
	}
}

// owner returns the master of a slot.
func (c *redisCluster) owner(t testing.TB, slot int) *clusterNode {
	for _, n := range c.nodes {
		slots, err := n.client.ClusterSlots(longContext(t)).Result()
		if err != nil {
			continue // killed
		}
		for _, s := range slots {
			if s.Start <= slot && slot <= s.End {
				i := slices.IndexFunc(c.nodes, func(n *clusterNode) bool { return n.id == s.Nodes[0].ID })
				return c.nodes[i]
			}
		}
	}
	t.Fatal("the slot has no owner")
	return nil
}

// A master is killed while messages flow, and its replica takes over. A member that
// has missed a message which Publish has acknowledged, because the replica didn't
// have it, has a Gap, except for what no server and no member had when the master was
// killed: nobody can know of that. It is at most one message of each publisher.
func TestClusterMasterIsKilled(t *testing.T) {
	t.Parallel()
	forEachPubSub(t, func(t *testing.T, sharded bool) {
		c := newCluster(t, 1) // of the first master
		room := ""
		for i := 0; room == "" || c.owner(t, int(c.nodes[0].client.ClusterKeySlot(t.Context(), "holdfast:{"+room+"}").Val())) != c.nodes[0]; i++ {
			room = "room" + strconv.Itoa(i)
		}
		o := hub.RedisOptions{ShardedPubSub: sharded, Timeout: time.Second, Options: hub.Options{Queue: 10_000}}
		hubs := []hub.Hub{c.hub(t, o), c.hub(t, o)}
		var members []*hub.Membership
		for i := range 4 {
			testkit.Eventually(t, "a member", func() bool {
				m, err := hubs[i%2].Join(longContext(t), room, hub.Member{ID: strconv.Itoa(i)}, hub.JoinOptions{})
				if err != nil && !errors.Is(err, hub.ErrUnavailable) { // a busy machine exceeds the timeout
					t.Fatal(err)
				}
				if err == nil {
					members = append(members, m)
					t.Cleanup(m.Leave)
				}
				return err == nil
			})
		}
		const publishers, each = 2, 200
		var publishing sync.WaitGroup
		for p := range publishers {
			publishing.Go(func() { publishAll(t, hubs[p], room, strconv.Itoa(p), each, 2*time.Millisecond) })
		}
		time.Sleep(100 * time.Millisecond)
		c.nodes[0].kill()
		time.Sleep(100 * time.Millisecond)
		replica := c.nodes[clusterMasters]
		if err := replica.client.Do(t.Context(), "CLUSTER", "FAILOVER", "TAKEOVER").Err(); err != nil {
			t.Fatal(err)
		}
		publishing.Wait()
		publishAll(t, hubs[0], room, "last", 1, 0)
		for i, m := range members {
			seen, gap := map[string]int{}, false
			var missed []string
			for {
				e := next(t, m)
				if e.Kind == hub.Gap {
					gap = true
					continue
				}
				seen[describe(e)]++
				if describe(e) == "last/0" {
					break
				}
			}
			for p := range publishers {
				for n := range each {
					key := fmt.Sprintf("%d/%d", p, n)
					if seen[key] == 0 {
						missed = append(missed, key)
					}
					if seen[key] > 1 && !gap {
						t.Errorf("member %d has %s %d times", i, key, seen[key])
					}
				}
			}
			if len(missed) > publishers && !gap {
				t.Errorf("member %d has missed %q and has no gap", i, missed)
			}
			t.Logf("member %d has %d of %d messages, gap: %v", i, len(seen)-1, publishers*each, gap)
		}
	})
}

package hub_test

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/holdfast-ws/holdfast/hub"
)

// redisCluster is a Redis Cluster of three masters, each with a replica if wanted,
// at an address of its own.
type redisCluster struct {
	dir   string
	nodes []*clusterNode // masters first
}

type clusterNode struct {
	addr, id string
	process  *exec.Cmd
	client   *redis.Client
}

const clusterMasters = 3

// startCluster starts a cluster. It never fails over by itself, so that a busy
// machine doesn't disturb the tests.
func startCluster(replicas int) (*redisCluster, error) {
	dir, err := os.MkdirTemp("", "hub-cluster")
	if err != nil {
		return nil, err
	}
	c := &redisCluster{dir: dir}
	ip := fmt.Sprintf("127.%d.%d.%d", 2+rand.IntN(250), rand.IntN(250), 2+rand.IntN(250))
	for i := range clusterMasters + replicas {
		if err := c.startNode(ip, 7000+i); err != nil {
			c.stop()
			return nil, err
		}
	}
	if err := c.connect(); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func (c *redisCluster) startNode(ip string, port int) error {
	dir := filepath.Join(c.dir, strconv.Itoa(port))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	n := &clusterNode{addr: net.JoinHostPort(ip, strconv.Itoa(port))}
	n.process = exec.Command("redis-server", "--bind", ip, "--port", strconv.Itoa(port), "--dir", dir,
		"--save", "", "--protected-mode", "no", "--cluster-enabled", "yes", "--cluster-node-timeout", "60000",
		"--cluster-announce-ip", ip, "--bind-source-addr", ip,
		"--repl-diskless-sync-delay", "0", "--logfile", filepath.Join(dir, "log"))
	if err := n.process.Start(); err != nil {
		return err
	}
	n.client = redis.NewClient(&redis.Options{Addr: n.addr, MaxRetries: -1, DialerRetries: 1})
	c.nodes = append(c.nodes, n)
	return nil
}

// connect makes a cluster of the nodes.
func (c *redisCluster) connect() error {
	ctx, cancel := context.WithTimeout(context.Background(), longTimeout)
	defer cancel()
	for i, n := range c.nodes {
		if err := retry(ctx, func() error { return n.client.Ping(ctx).Err() }); err != nil {
			return err
		}
		if err := n.client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
		n.id = n.client.ClusterMyID(ctx).Val()
		if i < clusterMasters {
			from, to := 16384*i/clusterMasters, 16384*(i+1)/clusterMasters-1
			if err := n.client.ClusterAddSlotsRange(ctx, from, to).Err(); err != nil {
				return err
			}
		}
		if i == 0 {
			continue
		}
		host, port, _ := net.SplitHostPort(c.nodes[0].addr)
		if err := n.client.ClusterMeet(ctx, host, port).Err(); err != nil {
			return err
		}
	}
	if err := retry(ctx, c.checkInfo); err != nil {
		return err
	}
	for i, n := range c.nodes[clusterMasters:] {
		if err := retry(ctx, func() error { return n.client.ClusterReplicate(ctx, c.nodes[i].id).Err() }); err != nil {
			return err
		}
		if err := retry(ctx, func() error {
			info, err := n.client.Info(ctx, "replication").Result()
			if err == nil && !strings.Contains(info, "master_link_status:up") {
				err = fmt.Errorf("replica isn't ready: %s", info)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// checkInfo returns an error if a node doesn't know all others and all slots.
func (c *redisCluster) checkInfo() error {
	for _, n := range c.nodes {
		info, err := n.client.ClusterInfo(context.Background()).Result()
		if err != nil {
			return err
		}
		if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", len(c.nodes))) {
			return fmt.Errorf("the cluster isn't ready: %s", info)
		}
	}
	return nil
}

// retry calls f until it returns no error or ctx ends.
func retry(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *redisCluster) stop() {
	for _, n := range c.nodes {
		_ = n.client.Close()
		n.kill()
	}
	_ = os.RemoveAll(c.dir)
}

func (n *clusterNode) kill() {
	_ = n.process.Process.Kill()
	_ = n.process.Wait()
}

// hub returns a hub on the cluster. It is closed at the end of the test.
func (c *redisCluster) hub(t testing.TB, o hub.RedisOptions) hub.Hub {
	co := &redis.ClusterOptions{
		ContextTimeoutEnabled:    true,
		DialerRetries:            1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	for _, n := range c.nodes {
		co.Addrs = append(co.Addrs, n.addr)
	}
	client := redis.NewClusterClient(co)
	t.Cleanup(func() { _ = client.Close() }) // after the hub
	o.Client = client
	return openHub(t, o)
}

// sharedCluster is the cluster of the tests of the contract, each with a prefix of
// its own. TestMain stops it.
var (
	sharedCluster  = sync.OnceValues(func() (*redisCluster, error) { return startCluster(0) })
	clusterStarted atomic.Bool
	lastPrefix     atomic.Int32
)

func stopSharedCluster() {
	if clusterStarted.Load() {
		if c, err := sharedCluster(); err == nil {
			c.stop()
		} else {
			log.Print(err)
		}
	}
}

func clusterHubs(sharded bool) func(t testing.TB, o hub.Options) (a, b hub.Hub) {
	return func(t testing.TB, o hub.Options) (a, b hub.Hub) {
		clusterStarted.Store(true)
		c, err := sharedCluster()
		if err != nil {
			t.Fatal(err)
		}
		ro := hub.RedisOptions{Options: o, ShardedPubSub: sharded, Prefix: fmt.Sprintf("test%d:", lastPrefix.Add(1))}
		return c.hub(t, ro), c.hub(t, ro)
	}
}

package hub

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// clusterClient is a *redis.ClusterClient, possibly wrapped.
type clusterClient interface {
	ForEachMaster(ctx context.Context, f func(ctx context.Context, c *redis.Client) error) error
	MasterForKey(ctx context.Context, key string) (*redis.Client, error)
}

// refreshPause is about the least time between two look-ups of the masters.
const refreshPause = 100 * time.Millisecond

// followMasters keeps a connection to each master of a Redis Cluster, and the
// subscriptions at the masters of their slots, until the hub is closed. It looks
// the masters up at an interval, and as soon as there is a sign that they have
// changed.
func (s *subscriber) followMasters() {
	for pause := refreshPause; ; {
		if s.refreshMasters() {
			pause = refreshPause
		} else {
			pause = min(2*pause, s.maxRetry())
			s.signal()
		}
		if !sleep(s.hub.ctx, jitter(pause)) {
			return
		}
		select {
		case <-s.wake:
		case <-s.hub.ctx.Done():
			return
		}
	}
}

// refreshMasters reports false if it can't ask the Cluster.
func (s *subscriber) refreshMasters() bool {
	ctx, cancel := context.WithTimeout(s.hub.ctx, s.hub.opts.Timeout)
	defer cancel()
	masters, err := s.lookUpMasters(ctx)
	s.mu.Lock()
	s.routeErr = err
	if err != nil {
		s.broadcast()
		s.mu.Unlock()
		return false
	}
	gone := maps.Clone(s.shards)
	for addr, c := range masters {
		delete(gone, addr)
		if sh := s.shards[addr]; sh != nil {
			sh.client = c
		} else {
			s.addShard(addr, c)
		}
	}
	for addr, sh := range gone {
		delete(s.shards, addr)
		sh.stop()
		if sh.conn != nil {
			_ = sh.conn.Close()
		}
	}
	s.broadcast()
	s.mu.Unlock()
	s.move(func(sub *subscription) bool { return sub.shard != s.route(sub.channel) })
	s.retryRefused()
	return true
}

// lookUpMasters returns the masters by address. If it can't ask the Cluster, they
// are those that were known before.
func (s *subscriber) lookUpMasters(ctx context.Context) (map[string]*redis.Client, error) {
	var mu sync.Mutex
	masters := make(map[string]*redis.Client)
	err := s.cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters[c.Options().Addr] = c
		return nil
	})
	return masters, err
}

// route returns the shard responsible for a channel, or nil if it isn't known. It
// requires s.mu.
func (s *subscriber) route(channel string) *shard {
	if s.cluster == nil {
		return s.shards[""]
	}
	if len(s.shards) == 0 {
		return nil
	}
	// The masters are known, so this doesn't wait for the Cluster.
	c, err := s.cluster.MasterForKey(s.hub.ctx, channel)
	if err != nil {
		return nil
	}
	sh := s.shards[c.Options().Addr]
	if sh == nil {
		s.signal()
	}
	return sh
}

// retryRefused subscribes again to the channels of which a shard may have refused
// the subscription. The refusal doesn't say of which.
func (s *subscriber) retryRefused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subscriptions {
		if sub.shard != nil && sub.shard.refused && !sub.confirmed {
			sub.shard.update(sub.channel)
		}
	}
	for _, sh := range s.shards {
		sh.refused = false
	}
}

package hub

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	minRetry = 50 * time.Millisecond
	// maxChannels limits the channels in one SUBSCRIBE.
	maxChannels = 500
)

// maxRetry is short enough to reconnect within the grace time that other servers
// give this one after an outage.
func (s *subscriber) maxRetry() time.Duration { return min(2*time.Second, s.hub.opts.renewInterval()) }

// shard is a connection for pub/sub, in a Redis Cluster to the master at addr.
type shard struct {
	subscriber *subscriber
	addr       string // "" if it isn't a Cluster
	ctx        context.Context
	stop       context.CancelFunc
	wake       chan struct{}
	// received is set whenever something is received; check clears it.
	received atomic.Bool

	// subscriber.mu guards the fields below.
	client  redis.UniversalClient
	conn    *redis.PubSub // nil while disconnected
	err     error         // of the last attempt to connect; nil if there is a connection
	refused bool          // Redis has refused a subscription, so try those again that aren't confirmed
	updates []string      // channels to subscribe to or unsubscribe from
}

// addShard starts a connection. It requires s.mu.
func (s *subscriber) addShard(addr string, c redis.UniversalClient) {
	if s.closed {
		return
	}
	sh := &shard{subscriber: s, addr: addr, client: c, wake: make(chan struct{}, 1)}
	sh.ctx, sh.stop = context.WithCancel(s.hub.ctx)
	s.shards[addr] = sh
	for _, sub := range s.subscriptions {
		if sub.shard == nil && !sub.moving {
			s.assign(sub)
		}
	}
	s.hub.goroutines.Go(sh.run)
	s.hub.goroutines.Go(sh.sendUpdates)
}

// update schedules a SUBSCRIBE or UNSUBSCRIBE. It requires subscriber.mu.
func (sh *shard) update(channel string) {
	if sh == nil || sh.conn == nil {
		return // connect schedules all
	}
	sh.updates = append(sh.updates, channel)
	sh.signal()
}

func (sh *shard) signal() {
	select {
	case sh.wake <- struct{}{}:
	default:
	}
}

// run connects and reconnects until the shard is stopped.
func (sh *shard) run() {
	s := sh.subscriber
	logger := s.hub.opts.Log
	if sh.addr != "" {
		logger = logger.With(slog.String("node", sh.addr))
	}
	var downSince time.Time // zero while connected
	for retry := minRetry; ; retry = min(2*retry, s.maxRetry()) {
		conn, err := sh.connect()
		if err == nil {
			if !downSince.IsZero() {
				s.hub.counts.reconnects.Add(1)
				logger.Info("hub: connection to Redis is back", "after", time.Since(downSince).Round(time.Millisecond))
			}
			retry, downSince = minRetry, time.Time{}
			err = sh.read(conn)
			sh.disconnect(conn)
		} else {
			sh.failed(conn, err)
		}
		if sh.ctx.Err() != nil {
			return
		}
		if downSince.IsZero() {
			downSince = time.Now()
			logger.Error("hub: connection to Redis is lost", "error", err)
		}
		s.signal() // another master may have taken over
		if !sleep(sh.ctx, jitter(retry)) {
			return
		}
	}
}

// jitter returns a random duration between d/2 and d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2) }

// sleep reports false if ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// connect opens the connection and schedules all subscriptions of the shard. It
// renews the server's lease first, so that the server has a lease before its
// members become visible.
func (sh *shard) connect() (*redis.PubSub, error) {
	s := sh.subscriber
	ctx, cancel := context.WithTimeout(sh.ctx, s.hub.opts.Timeout)
	defer cancel()
	s.mu.Lock()
	again, client := s.wasConnected, sh.client
	s.mu.Unlock()
	if err := s.hub.maintainer.renewLease(ctx, again); err != nil {
		return nil, err
	}
	conn := client.Subscribe(ctx)
	if err := conn.Ping(ctx); err != nil {
		return conn, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || sh.ctx.Err() != nil {
		return conn, ErrClosed
	}
	sh.conn, sh.err = conn, nil
	sh.received.Store(true)
	sh.updates = nil
	for channel, sub := range s.subscriptions {
		if sub.shard == sh {
			sh.updates = append(sh.updates, channel)
		}
	}
	sh.signal()
	s.broadcast()
	return conn, nil
}

// failed is called after a failed attempt to connect.
func (sh *shard) failed(conn *redis.PubSub, err error) {
	if conn != nil {
		_ = conn.Close()
	}
	s := sh.subscriber
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.err = err
	s.broadcast()
}

// disconnect closes the connection.
func (sh *shard) disconnect(conn *redis.PubSub) {
	s := sh.subscriber
	s.mu.Lock()
	sh.conn, sh.updates = nil, nil
	s.broadcast()
	s.mu.Unlock()
	_ = conn.Close()
	s.move(func(sub *subscription) bool { return sub.shard == sh })
}

// read receives from the connection until it breaks.
func (sh *shard) read(conn *redis.PubSub) error {
	s := sh.subscriber
	for {
		// No timeout here: it might interrupt the client in the middle of a
		// message. check closes a dead connection.
		in, err := conn.Receive(sh.ctx)
		if isRefusal(err) && s.cluster != nil {
			s.mu.Lock()
			sh.refused = true
			s.mu.Unlock()
			s.signal()
			continue
		}
		if err != nil {
			return err
		}
		sh.received.Store(true)
		switch in := in.(type) {
		case *redis.Message:
			if sub := s.find(in.Channel, sh); sub != nil {
				sub.onPayload(in.Payload)
			}
		case *redis.Subscription:
			sh.onSubscription(in)
		}
	}
}

// isRefusal reports whether a node of a Cluster has refused a subscription to a
// sharded channel, because it isn't responsible for it now.
func isRefusal(err error) bool {
	var r redis.Error
	if !errors.As(err, &r) {
		return false
	}
	code, _, _ := strings.Cut(r.Error(), " ")
	switch code {
	case "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN":
		return true
	}
	return false
}

func (sh *shard) onSubscription(in *redis.Subscription) {
	s := sh.subscriber
	switch in.Kind {
	case "subscribe", "ssubscribe":
		if sub := s.find(in.Channel, sh); sub != nil {
			s.mu.Lock()
			sub.confirmed = true
			s.mu.Unlock()
			sub.onSubscribed()
		}
	case "sunsubscribe":
		// If this isn't the reply to an SUNSUBSCRIBE, the slot of the channel
		// has moved to another node.
		if sub := s.find(in.Channel, sh); sub != nil && s.cluster != nil {
			s.lose(sub)
			s.signal()
		}
	}
}

// check is called at an interval. It sends a ping, and closes the connection if
// nothing was received since the last call, not even the reply to its ping.
func (sh *shard) check(ctx context.Context, conn *redis.PubSub) {
	if !sh.received.Swap(false) {
		_ = conn.Close()
		return
	}
	_ = conn.Ping(ctx) // read notices if the connection is broken
}

// sendUpdates sends the scheduled changes, until the shard is stopped.
func (sh *shard) sendUpdates() {
	for {
		select {
		case <-sh.wake:
		case <-sh.ctx.Done():
			return
		}
		for {
			conn, on, off := sh.takeUpdates()
			if len(on)+len(off) == 0 {
				break
			}
			if err := sh.send(conn, on, off); err != nil {
				_ = conn.Close() // read notices this
				break
			}
		}
	}
}

// takeUpdates removes up to maxChannels scheduled changes and returns the
// channels to subscribe to and to unsubscribe from.
func (sh *shard) takeUpdates() (conn *redis.PubSub, on, off []string) {
	s := sh.subscriber
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(sh.updates), maxChannels)
	for _, channel := range sh.updates[:n] {
		if sub := s.subscriptions[channel]; sub != nil && sub.shard == sh {
			on = append(on, channel)
		} else {
			off = append(off, channel)
		}
	}
	sh.updates = sh.updates[n:]
	return sh.conn, on, off
}

// send unsubscribes and subscribes, many channels in one command. In a Cluster,
// the sharded channels in a command must be in the same slot, so each gets a
// command of its own.
func (sh *shard) send(conn *redis.PubSub, on, off []string) error {
	s := sh.subscriber
	subscribe, unsubscribe, size := conn.Subscribe, conn.Unsubscribe, maxChannels
	if s.hub.opts.ShardedPubSub {
		subscribe, unsubscribe = conn.SSubscribe, conn.SUnsubscribe
		if s.cluster != nil {
			size = 1
		}
	}
	return errors.Join(inChunks(off, size, func(chunk []string) error { return unsubscribe(sh.ctx, chunk...) }),
		inChunks(on, size, func(chunk []string) error { return subscribe(sh.ctx, chunk...) }))
}

func inChunks(channels []string, size int, f func([]string) error) error {
	for len(channels) > 0 {
		n := min(size, len(channels))
		if err := f(channels[:n]); err != nil {
			return err
		}
		channels = channels[n:]
	}
	return nil
}

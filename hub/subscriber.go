package hub

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// startGrace is how long after its creation a hub waits for a server that doesn't
// accept connections yet, before calls fail.
const startGrace = time.Second

// listener receives what is published on a channel.
type listener interface {
	// onSubscribed is called when Redis has confirmed the subscription. From
	// here on the channel misses nothing.
	onSubscribed()
	// onPayload is called for everything published on the channel.
	onPayload(text string)
	// onDisconnect is called when the channel may miss something, until the
	// next onSubscribed.
	onDisconnect()
}

// subscription is a channel to which the hub is subscribed. The subscriber's mu
// guards the fields below listener.
type subscription struct {
	channel string
	listener
	shard     *shard // where it is, or will be when there is a connection; nil if unknown
	confirmed bool
	moving    bool // onDisconnect is being called
}

// subscriber keeps the connections for pub/sub and the subscriptions. There is
// one connection, or in a Redis Cluster one to each master: a message is received
// from the node that has stored it, so none gets lost between nodes without a
// connection breaking.
type subscriber struct {
	hub     *redisHub
	cluster clusterClient // nil if it isn't a Cluster
	wake    chan struct{} // the masters must be looked up again

	mu            sync.Mutex
	subscriptions map[string]*subscription // by channel
	shards        map[string]*shard        // by address of the master; without a Cluster, one
	routeErr      error                    // why the masters couldn't be looked up
	changed       chan struct{}            // closed when something below or in a shard's state has changed
	inGrace       bool                     // see startGrace
	grace         *time.Timer              // clears it
	wasConnected  bool                     // to all
	closed        bool
}

func newSubscriber(h *redisHub) *subscriber {
	s := &subscriber{
		hub:           h,
		wake:          make(chan struct{}, 1),
		subscriptions: make(map[string]*subscription),
		shards:        make(map[string]*shard),
		changed:       make(chan struct{}),
		inGrace:       true,
	}
	if c, ok := h.client.(clusterClient); ok {
		s.cluster = c
	}
	s.grace = time.AfterFunc(startGrace, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.inGrace = false
		s.broadcast()
	})
	return s
}

// run starts and watches the connections until the hub is closed.
func (s *subscriber) run() {
	if s.cluster != nil {
		s.followMasters()
		return
	}
	s.mu.Lock()
	s.addShard("", s.hub.client)
	s.mu.Unlock()
}

// add subscribes to a channel. It replaces a subscription to the same channel:
// then the channel is subscribed again, because the new one needs the
// confirmation.
func (s *subscriber) add(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscriptions[sub.channel] = sub
	s.assign(sub)
}

func (s *subscriber) remove(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subscriptions[sub.channel] == sub {
		delete(s.subscriptions, sub.channel)
		sub.shard.update(sub.channel)
	}
}

// assign finds the shard of a subscription and schedules the SUBSCRIBE. It
// requires s.mu.
func (s *subscriber) assign(sub *subscription) {
	sub.confirmed = false
	sub.shard = s.route(sub.channel)
	sub.shard.update(sub.channel)
}

// find returns the subscription to a channel if it is on this shard.
func (s *subscriber) find(channel string, on *shard) *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub := s.subscriptions[channel]; sub != nil && sub.shard == on {
		return sub
	}
	return nil
}

// move takes the subscriptions that which selects away from their shards, and
// assigns them to those that the masters known now require.
func (s *subscriber) move(which func(*subscription) bool) {
	var subs []*subscription
	s.mu.Lock()
	for _, sub := range s.subscriptions {
		if !sub.moving && which(sub) {
			subs = append(subs, sub)
			sub.unassign()
		}
	}
	s.mu.Unlock()
	s.afterUnassign(subs, true)
}

// lose takes a subscription away from its shard, until the masters have been
// looked up.
func (s *subscriber) lose(sub *subscription) {
	s.mu.Lock()
	moving := sub.moving
	if !moving {
		sub.unassign()
	}
	s.mu.Unlock()
	if !moving {
		s.afterUnassign([]*subscription{sub}, false)
	}
}

// unassign requires subscriber.mu. The caller must then call afterUnassign.
func (sub *subscription) unassign() {
	old := sub.shard
	sub.moving, sub.shard = true, nil
	old.update(sub.channel)
}

// afterUnassign calls onDisconnect: before another shard can confirm the
// subscription, and without s.mu. If again is set, it then assigns the
// subscriptions.
func (s *subscriber) afterUnassign(subs []*subscription, again bool) {
	for _, sub := range subs {
		sub.onDisconnect()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range subs {
		sub.moving = false
		if again && s.subscriptions[sub.channel] == sub {
			s.assign(sub)
		}
	}
}

// broadcast wakes those who wait for a change of the state. It requires s.mu.
func (s *subscriber) broadcast() {
	close(s.changed)
	s.changed = make(chan struct{})
	s.wasConnected = s.wasConnected || s.allConnected()
}

// allConnected requires s.mu.
func (s *subscriber) allConnected() bool {
	for _, sh := range s.shards {
		if sh.conn == nil {
			return false
		}
	}
	return len(s.shards) > 0
}

// connected reports whether there is a connection, in a Cluster to each master,
// as far as is known.
func (s *subscriber) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allConnected()
}

// check is called at an interval, see shard.check.
func (s *subscriber) check(ctx context.Context) {
	s.mu.Lock()
	conns := make(map[*shard]*redis.PubSub)
	for _, sh := range s.shards {
		if sh.conn != nil {
			conns[sh] = sh.conn
		}
	}
	s.mu.Unlock()
	for sh, conn := range conns {
		sh.check(ctx, conn)
	}
	s.signal()
}

// signal makes followMasters look the masters up again.
func (s *subscriber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// close closes the connections. The hub's context must have ended.
func (s *subscriber) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.grace.Stop()
	for _, sh := range s.shards {
		sh.stop()
		if sh.conn != nil {
			_ = sh.conn.Close()
		}
	}
}

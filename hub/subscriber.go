package hub

import (
	"context"
	"math/rand/v2"
	"sync"
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

// subscriber keeps the connection for pub/sub and subscribes to the channels of
// the rooms that have members on this server.
type subscriber struct {
	hub  *redisHub
	wake chan struct{}
	// received is set whenever something is received; check clears it.
	received atomic.Bool

	mu      sync.Mutex
	conn    *redis.PubSub   // nil while disconnected
	wanted  map[string]bool // channels of rooms
	changed []string        // channels to subscribe to or unsubscribe from
	closed  bool
}

func newSubscriber(h *redisHub) *subscriber {
	return &subscriber{hub: h, wake: make(chan struct{}, 1), wanted: make(map[string]bool)}
}

// setWanted schedules a SUBSCRIBE or UNSUBSCRIBE. A channel is subscribed again
// even if it already is, because a new room needs the confirmation.
func (s *subscriber) setWanted(channel string, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wanted {
		s.wanted[channel] = true
	} else {
		delete(s.wanted, channel)
	}
	if s.conn != nil {
		s.changed = append(s.changed, channel)
		s.signal()
	}
}

func (s *subscriber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run connects and reconnects until the hub is closed.
func (s *subscriber) run() {
	var downSince time.Time // zero while connected
	for retry := minRetry; ; retry = min(2*retry, s.maxRetry()) {
		conn, err := s.connect()
		if err == nil {
			if !downSince.IsZero() {
				s.hub.counts.reconnects.Add(1)
				s.hub.opts.Logger.Info("hub: connection to Redis is back", "after", time.Since(downSince).Round(time.Millisecond))
			}
			retry, downSince = minRetry, time.Time{}
			err = s.read(conn)
		}
		s.disconnect(conn)
		if s.hub.ctx.Err() != nil {
			return
		}
		if downSince.IsZero() {
			downSince = time.Now()
			s.hub.opts.Logger.Error("hub: connection to Redis is lost", "error", err)
		}
		if !sleep(s.hub.ctx, jitter(retry)) {
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

// connect opens the connection and schedules the subscription of all wanted
// channels. It renews the server's lease first, so that the server has a lease
// before its members become visible.
func (s *subscriber) connect() (*redis.PubSub, error) {
	ctx, cancel := context.WithTimeout(s.hub.ctx, s.hub.opts.Timeout)
	defer cancel()
	if err := s.hub.maintainer.renewLease(ctx, true); err != nil {
		return nil, err
	}
	conn := s.hub.client.Subscribe(ctx)
	if err := conn.Ping(ctx); err != nil {
		return conn, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return conn, ErrClosed
	}
	s.conn = conn
	s.received.Store(true)
	s.changed = s.changed[:0]
	for channel := range s.wanted {
		s.changed = append(s.changed, channel)
	}
	s.signal()
	return conn, nil
}

// disconnect closes the connection. Rooms aren't live until their channels are
// subscribed on the next one.
func (s *subscriber) disconnect(conn *redis.PubSub) {
	if conn == nil {
		return
	}
	s.mu.Lock()
	s.conn = nil
	s.changed = nil
	s.mu.Unlock()
	_ = conn.Close()
	for _, r := range s.hub.allRooms() {
		r.onDisconnect()
	}
}

// read receives from the connection until it breaks.
func (s *subscriber) read(conn *redis.PubSub) error {
	for {
		// No timeout here: it might interrupt the client in the middle of a
		// message. check closes a dead connection.
		in, err := conn.Receive(s.hub.ctx)
		if err != nil {
			return err
		}
		s.received.Store(true)
		switch in := in.(type) {
		case *redis.Message:
			if r := s.hub.roomByChannel(in.Channel); r != nil {
				r.onPayload(in.Payload)
			}
		case *redis.Subscription:
			if r := s.hub.roomByChannel(in.Channel); r != nil && (in.Kind == "subscribe" || in.Kind == "ssubscribe") {
				r.onSubscribed()
			}
		}
	}
}

// check is called at an interval. It sends a ping, and closes the connection if
// nothing was received since the last call, not even the reply to its ping.
func (s *subscriber) check(ctx context.Context) {
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if conn == nil {
		return
	}
	if !s.received.Swap(false) {
		_ = conn.Close()
		return
	}
	_ = conn.Ping(ctx) // read notices if the connection is broken
}

// updateSubscriptions sends the scheduled changes, many channels in one command.
// It runs until the hub is closed.
func (s *subscriber) updateSubscriptions() {
	for {
		select {
		case <-s.wake:
		case <-s.hub.ctx.Done():
			return
		}
		for {
			conn, on, off := s.takeChanges()
			if len(on)+len(off) == 0 {
				break
			}
			subscribe, unsubscribe := conn.Subscribe, conn.Unsubscribe
			if s.hub.opts.ShardedPubSub {
				subscribe, unsubscribe = conn.SSubscribe, conn.SUnsubscribe
			}
			var err error
			if len(off) > 0 {
				err = unsubscribe(s.hub.ctx, off...)
			}
			if len(on) > 0 && err == nil {
				err = subscribe(s.hub.ctx, on...)
			}
			if err != nil {
				_ = conn.Close() // read notices this
				break
			}
		}
	}
}

// connected reports whether there is a connection, as far as is known.
func (s *subscriber) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

// takeChanges removes up to maxChannels scheduled changes and returns the
// channels to subscribe to and to unsubscribe from.
func (s *subscriber) takeChanges() (conn *redis.PubSub, on, off []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.changed), maxChannels)
	for _, channel := range s.changed[:n] {
		if s.wanted[channel] {
			on = append(on, channel)
		} else {
			off = append(off, channel)
		}
	}
	s.changed = s.changed[n:]
	return s.conn, on, off
}

// close closes the connection, which ends run.
func (s *subscriber) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

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
	firstRetry = 50 * time.Millisecond
	// mostChannels bounds one SUBSCRIBE.
	mostChannels = 500
)

// lastRetry is short enough for a server to be back within the time that
// others give it.
func (l *link) lastRetry() time.Duration { return min(2*time.Second, l.hub.opts.beatInterval()) }

// link is the connection on which the rooms' channels come. Rooms are counted
// by the hub, and subscribed while they have members here.
type link struct {
	hub  *redisHub
	wake chan struct{}
	// heard is set by all that comes; who asks clears it.
	heard atomic.Bool

	mu      sync.Mutex
	conn    *redis.PubSub   // nil while there is none
	wanted  map[string]bool // channels of rooms
	changed []string        // channels to subscribe or unsubscribe
	closed  bool
}

func newLink(h *redisHub) *link {
	return &link{hub: h, wake: make(chan struct{}, 1), wanted: make(map[string]bool)}
}

// want has a channel subscribed, even if it is already, so that its new room
// hears of the confirmation; or unsubscribed.
func (l *link) want(channel string, wanted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if wanted {
		l.wanted[channel] = true
	} else {
		delete(l.wanted, channel)
	}
	if l.conn != nil {
		l.changed = append(l.changed, channel)
		l.signal()
	}
}

func (l *link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run keeps the connection, until the hub is closed.
func (l *link) run() {
	var down time.Time // since when, zero while it is up
	for retry := firstRetry; ; retry = min(2*retry, l.lastRetry()) {
		conn, err := l.connect()
		if err == nil {
			if !down.IsZero() {
				l.hub.counts.reconnects.Add(1)
				l.hub.opts.Logger.Info("hub: Redis is back", "after", time.Since(down).Round(time.Millisecond))
			}
			retry, down = firstRetry, time.Time{}
			err = l.read(conn)
		}
		l.disconnect(conn)
		if l.hub.ctx.Err() != nil {
			return
		}
		if down.IsZero() {
			down = time.Now()
			l.hub.opts.Logger.Error("hub: Redis is lost", "error", err)
		}
		if !sleep(l.hub.ctx, jitter(retry)) {
			return
		}
	}
}

// jitter draws a time from half of d to all of it.
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

// connect makes the connection and has all wanted channels subscribed. The
// server's lease is renewed first, so that nobody sees a member of a server
// that has none.
func (l *link) connect() (*redis.PubSub, error) {
	ctx, cancel := context.WithTimeout(l.hub.ctx, l.hub.opts.Timeout)
	defer cancel()
	if err := l.hub.clerk.beat(ctx, true); err != nil {
		return nil, err
	}
	conn := l.hub.client.Subscribe(ctx)
	if err := conn.Ping(ctx); err != nil {
		return conn, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return conn, ErrClosed
	}
	l.conn = conn
	l.heard.Store(true)
	l.changed = l.changed[:0]
	for channel := range l.wanted {
		l.changed = append(l.changed, channel)
	}
	l.signal()
	return conn, nil
}

// disconnect gives a connection up. Rooms are not live until they have been
// subscribed on another.
func (l *link) disconnect(conn *redis.PubSub) {
	if conn == nil {
		return
	}
	l.mu.Lock()
	l.conn = nil
	l.changed = nil
	l.mu.Unlock()
	_ = conn.Close()
	for _, r := range l.hub.allRooms() {
		r.lose()
	}
}

// read takes what comes until the connection breaks.
func (l *link) read(conn *redis.PubSub) error {
	for {
		// Without a timeout, which might cut a message in two; check closes
		// a connection that is dead.
		in, err := conn.Receive(l.hub.ctx)
		if err != nil {
			return err
		}
		l.heard.Store(true)
		switch in := in.(type) {
		case *redis.Message:
			if r := l.hub.roomOf(in.Channel); r != nil {
				r.receive(in.Payload)
			}
		case *redis.Subscription:
			if r := l.hub.roomOf(in.Channel); r != nil && in.Kind == "subscribe" {
				r.subscribed()
			}
		}
	}
}

// check is called at an interval. It pings, and closes a connection on which
// nothing has come since the last call, not even the answer to its ping.
func (l *link) check(ctx context.Context) {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		return
	}
	if !l.heard.Swap(false) {
		_ = conn.Close()
		return
	}
	_ = conn.Ping(ctx) // read finds out if it is broken
}

// subscribe has Redis follow what is wanted, many channels in one command.
func (l *link) subscribe() {
	for {
		select {
		case <-l.wake:
		case <-l.hub.ctx.Done():
			return
		}
		for {
			conn, on, off := l.changes()
			if len(on)+len(off) == 0 {
				break
			}
			var err error
			if len(off) > 0 {
				err = conn.Unsubscribe(l.hub.ctx, off...)
			}
			if len(on) > 0 && err == nil {
				err = conn.Subscribe(l.hub.ctx, on...)
			}
			if err != nil {
				_ = conn.Close() // so that read sees it too
				break
			}
		}
	}
}

// up reports whether there is a connection, as far as is known.
func (l *link) up() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn != nil
}

// changes takes some of the channels that are to be changed.
func (l *link) changes() (conn *redis.PubSub, on, off []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.changed), mostChannels)
	for _, channel := range l.changed[:n] {
		if l.wanted[channel] {
			on = append(on, channel)
		} else {
			off = append(off, channel)
		}
	}
	l.changed = l.changed[n:]
	return l.conn, on, off
}

// close ends run.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.conn != nil {
		_ = l.conn.Close()
	}
}

package hub

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// RedisOptions are the options of a hub that shares its rooms through Redis.
// Exactly one of URL and Client must be set. Hubs that share rooms must have the
// same values for all options except Queue, Policy, Encode, MaxRooms, Timeout and Log.
type RedisOptions struct {
	Options

	// URL of the Redis server: redis://user:password@host:6379/0, rediss://
	// for TLS, or unix:///path for a Unix socket.
	URL string
	// Client is used instead of URL: one made by redis.NewFailoverClient for
	// Sentinel, a *redis.ClusterClient, or one with options that a URL can't
	// express. A *redis.Ring isn't supported. The caller closes it, after the hub.
	// Set ContextTimeoutEnabled in its options: otherwise contexts and Timeout don't
	// limit how long a command waits for its reply. Set DialerRetries to 1 so that
	// commands fail sooner while Redis is unreachable.
	Client redis.UniversalClient
	// ShardedPubSub makes the hub use sharded pub/sub, which needs Redis 7: in a
	// Cluster, a message then stays on the shard of its room. Otherwise each
	// master sends it to all other nodes. All hubs that share rooms must have
	// the same value.
	ShardedPubSub bool
	// Prefix is prepended to all keys and channels: letters, digits and any
	// of "-_.:". Two services that share a Redis server need different
	// prefixes, even if they use different databases, because channels are
	// common to all databases. Default: "holdfast:".
	Prefix string
	// Lease is the time within which the members of a crashed server leave
	// their rooms. A server that can't reach Redis for half of this time is
	// considered crashed by the others. Default: 15 seconds; minimum: 1
	// second.
	Lease time.Duration
	// Timeout limits how long the hub's methods wait for Redis, in addition to
	// their context, except for Ready. Default: 3 seconds.
	Timeout time.Duration
	// Log logs when the connection to Redis is lost and when it is back.
	// Default: no logging.
	Log *slog.Logger
}

var prefixFormat = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

func (o RedisOptions) withDefaults() (RedisOptions, error) {
	o.Options = o.Options.withDefaults()
	o.Prefix = cmp.Or(o.Prefix, "holdfast:")
	setDefault(&o.Lease, 15*time.Second)
	setDefault(&o.Timeout, 3*time.Second)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	_, isRing := o.Client.(*redis.Ring)
	switch {
	case (o.URL == "") == (o.Client == nil):
		return o, errors.New("hub: RedisOptions needs either URL or Client")
	case isRing:
		return o, errors.New("hub: a redis.Ring is not supported")
	case !prefixFormat.MatchString(o.Prefix):
		return o, fmt.Errorf("hub: invalid prefix %q: it must have 1 to 64 characters, letters, digits and any of \"-_.:\"", o.Prefix)
	case o.HistoryTTL < time.Second:
		return o, fmt.Errorf("hub: HistoryTTL is %v, the minimum is 1s", o.HistoryTTL)
	case o.Lease < time.Second:
		return o, fmt.Errorf("hub: Lease is %v, the minimum is 1s", o.Lease)
	}
	return o, nil
}

// Redis returns a hub that shares its rooms through a Redis server, version 6.2
// or later, through replicas with Sentinel, or through a Redis Cluster.
//
// Redis doesn't wait for a connection, and returns an error only for invalid
// options. While there is no connection, Join fails at once, and Publish returns
// ErrUnavailable after Timeout at the latest. The hub has three goroutines, and in
// a Cluster two and another two per master, regardless of the number of rooms and
// members. In addition to the client's pool, it has a connection for pub/sub, in a
// Cluster to each master.
//
// The caller must close the hub before the process ends. Otherwise its members
// remain visible to others until its lease expires.
func Redis(o RedisOptions) (Hub, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &redisHub{
		opts:     o,
		client:   o.Client,
		serverID: rand.Text()[:16],
		rooms:    make(map[string]*redisRoom),
	}
	if o.URL != "" {
		ro, err := redis.ParseURL(o.URL)
		if err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
		ro.ContextTimeoutEnabled = true
		ro.DialTimeout, ro.DialerRetries = o.Timeout, 1 // subscriber retries by itself
		ro.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		ro.Dialer = quietDialer(ro)
		h.client, h.ownClient = redis.NewClient(ro), true
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.subscriber = newSubscriber(h)
	h.subscriber.add(&subscription{channel: h.usersChannel(), listener: usersChannel{h}})
	h.maintainer = newMaintainer(h)
	h.goroutines.Go(h.subscriber.run)
	h.goroutines.Go(h.maintainer.run)
	return h, nil
}

type redisHub struct {
	opts       RedisOptions
	client     redis.UniversalClient
	ownClient  bool   // client was made from URL; Close closes it
	serverID   string // identifies this hub among those that share the rooms
	subscriber *subscriber
	maintainer *maintainer
	lastEntry  atomic.Uint64
	counts     counters
	users      users
	fanOut     fanOut
	dead       atomic.Pointer[map[string]bool] // IDs of servers whose lease has expired

	ctx        context.Context // of the goroutines
	cancel     context.CancelFunc
	goroutines sync.WaitGroup

	mu     sync.Mutex            // locked before that of a room
	rooms  map[string]*redisRoom // by channel: rooms with members here, or with a Join in progress
	closed bool
}

// acquire returns the room with that name and subscribes to its channel if
// necessary. The caller must release the room.
func (h *redisHub) acquire(name string) (*redisRoom, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	channel := channelOf(h.opts.Prefix, name)
	r := h.rooms[channel]
	if r == nil {
		if len(h.rooms) >= h.opts.MaxRooms {
			return nil, ErrFull
		}
		r = newRedisRoom(h, name)
		h.rooms[channel] = r
		h.subscriber.add(&r.sub)
	}
	r.refs++
	return r, nil
}

func (h *redisHub) release(r *redisRoom) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.refs--
	if r.refs == 0 && !h.closed {
		delete(h.rooms, r.keys.channel)
		h.subscriber.remove(&r.sub)
	}
}

// roomByChannel returns nil if the room has no members on this server.
func (h *redisHub) roomByChannel(channel string) *redisRoom {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rooms[channel]
}

func (h *redisHub) deadServers() map[string]bool {
	if dead := h.dead.Load(); dead != nil {
		return *dead
	}
	return nil
}

func (h *redisHub) allRooms() []*redisRoom {
	h.mu.Lock()
	defer h.mu.Unlock()
	rooms := make([]*redisRoom, 0, len(h.rooms))
	for _, r := range h.rooms {
		rooms = append(rooms, r)
	}
	return rooms
}

// unavailable wraps an error of a Redis command, or of waiting for Redis.
func (h *redisHub) unavailable(err error) error {
	if h.ctx.Err() != nil {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func (h *redisHub) Join(ctx context.Context, room string, m Member, j JoinOptions) (*Membership, error) {
	request, err := h.opts.checkJoin(room, m, j)
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return nil, err
	}
	r, err := h.acquire(room)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	member := newMembership(room, m, &r.opts, j, &h.counts, func(m *Membership) { h.leave(r, m) })
	member.encode = h.opts.Encode
	member.entry = h.serverID + "/" + strconv.FormatUint(h.lastEntry.Add(1), 36)
	if j.place == nil {
		h.users.add(&member.user)
	}
	if err := r.join(ctx, member, request); err != nil {
		member.Leave()
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err() // the caller gave up
		}
		return nil, h.unavailable(err)
	}
	return member, nil
}

func (h *redisHub) leave(r *redisRoom, m *Membership) {
	h.users.remove(&m.user)
	r.detach(m)
	if m.visible {
		h.maintainer.removeEntry(r, m.entry)
	}
	h.release(r)
}

func (h *redisHub) Publish(ctx context.Context, room string, data []byte) (string, error) {
	return h.PublishWith(ctx, room, data, PublishOptions{})
}

func (h *redisHub) PublishWith(ctx context.Context, room string, data []byte, o PublishOptions) (string, error) {
	if err := cmp.Or(h.opts.checkPublish(room, data, o), h.checkOpen(ctx)); err != nil {
		return "", err
	}
	if o.Key == "" {
		// The Redis client repeats a command when its connection breaks. The key
		// ensures that the message is still published only once.
		o.Key = rand.Text()[:16]
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	k, ro := keysOf(h.opts.Prefix, room), h.opts.room(room)
	id, err := publishScript.Run(ctx, h.client, []string{k.stream(), k.keys()}, h.publishCommand(), k.channel,
		o.Key, escape(o.Sender), data, ro.History, ro.HistoryTTL.Milliseconds()).Text()
	if err != nil {
		return "", h.unavailable(err)
	}
	return id, nil
}

func (h *redisHub) Notify(ctx context.Context, room string, data []byte) error {
	if err := cmp.Or(checkRoom(room), h.opts.checkData(data), h.checkOpen(ctx)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	channel := channelOf(h.opts.Prefix, room)
	if r := h.roomByChannel(channel); r != nil {
		r.noticeIfDisconnected(slices.Clone(data))
	}
	return h.publishOn(ctx, channel, formatNotice(data))
}

func (h *redisHub) publishOn(ctx context.Context, channel, payload string) error {
	send := h.client.Publish
	if h.opts.ShardedPubSub {
		send = h.client.SPublish
	} else if c := h.subscriber.cluster; c != nil {
		// go-redis would choose any node, for each payload another.
		node, err := c.MasterForKey(ctx, channel)
		if err != nil {
			return h.unavailable(err)
		}
		send = node.Publish
	}
	if err := send(ctx, channel, payload).Err(); err != nil {
		return h.unavailable(err)
	}
	return nil
}

func (h *redisHub) Members(ctx context.Context, room string) ([]Member, error) {
	if err := cmp.Or(checkRoom(room), h.checkOpen(ctx)); err != nil {
		return nil, err
	}
	if h.opts.room(room).NoPresence {
		return nil, ErrNoPresence
	}
	k := keysOf(h.opts.Prefix, room)
	if r := h.roomByChannel(k.channel); r != nil {
		if members, ok := r.members(); ok {
			return members, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	if !h.maintainer.hasLease.Load() {
		if err := h.maintainer.renewLease(ctx, false); err != nil {
			return nil, h.unavailable(err)
		}
	}
	entries, err := h.readMembers(ctx, k.members())
	if err != nil {
		return nil, h.unavailable(err)
	}
	p, dead := presence{}, h.deadServers()
	for entry, m := range entries {
		if !dead[serverOf(entry)] {
			p.add(entry, m)
		}
	}
	return p.list(), nil
}

// checkOpen returns an error if the hub is closed or ctx has ended.
func (h *redisHub) checkOpen(ctx context.Context) error {
	if h.ctx.Err() != nil {
		return ErrClosed
	}
	return ctx.Err()
}

func (h *redisHub) Ready(ctx context.Context) error {
	if err := h.subscriber.ready(ctx); err != nil {
		return h.unavailable(err)
	}
	return nil
}

func (h *redisHub) internals() (Options, *users, *counters) {
	return h.opts.Options, &h.users, &h.counts
}

func (h *redisHub) Stats() Stats { return h.counts.stats(h.subscriber.connected()) }

func (h *redisHub) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	rooms := h.allRooms()
	h.cancel()
	h.subscriber.close()
	h.goroutines.Wait()
	for _, r := range rooms {
		for _, entry := range r.close() {
			h.maintainer.removeEntry(r, entry)
		}
	}
	h.users.close()
	err := h.maintainer.deregister()
	if h.ownClient {
		err = errors.Join(err, h.client.Close())
	}
	return err
}

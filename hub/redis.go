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

// RedisOptions are what a hub over Redis needs to know. Either URL or Client
// has to be given. Hubs that are to share rooms must agree on all but Queue,
// Policy, MaxRooms, Timeout and Logger.
type RedisOptions struct {
	Options

	// URL of the server, redis://user:password@host:6379/0, rediss:// for
	// TLS, unix:///path for a socket.
	URL string
	// Client to use instead of one made from URL; also one of
	// redis.NewFailoverClient. The hub takes a connection of its own from it
	// for pub/sub, and doesn't close it. Its options should have
	// ContextTimeoutEnabled: without it, contexts and Timeout don't bound a
	// command that has been sent. With DialerRetries at 1, what Redis isn't
	// there for fails sooner.
	Client *redis.Client
	// Prefix of all keys and channels, letters, digits and any of "-_.:".
	// Channels are not apart by database number, so a Prefix is what keeps
	// two services on one server apart. "holdfast:".
	Prefix string
	// Lease is within how long the members of a server that crashed are
	// gone. A server whose Redis doesn't answer for half of it is taken for
	// crashed by the others. 15 s, and at least 1 s.
	Lease time.Duration
	// Timeout bounds how long Join, Publish, Notify and Members wait for
	// Redis, where their context doesn't end before. 3 s.
	Timeout time.Duration
	// Logger gets a line when Redis is lost and when it is back. Nothing is
	// logged without it.
	Logger *slog.Logger
}

var prefixFormat = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

func (o RedisOptions) withDefaults() (RedisOptions, error) {
	o.Options = o.Options.withDefaults()
	o.Prefix = cmp.Or(o.Prefix, "holdfast:")
	set(&o.Lease, 15*time.Second)
	set(&o.Timeout, 3*time.Second)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	switch {
	case (o.URL == "") == (o.Client == nil):
		return o, errors.New("hub: give Redis either a URL or a Client")
	case !prefixFormat.MatchString(o.Prefix):
		return o, fmt.Errorf("hub: prefix %q: 1 to 64 letters, digits and any of \"-_.:\" are allowed", o.Prefix)
	case o.HistoryTTL < time.Second:
		return o, fmt.Errorf("hub: a history TTL of %v is too short, it takes at least 1s", o.HistoryTTL)
	case o.Lease < time.Second:
		return o, fmt.Errorf("hub: a lease of %v is too short, it takes at least 1s", o.Lease)
	}
	return o, nil
}

// Redis is a hub whose rooms are shared by way of a Redis server, version 6.2
// or later, alone or with replicas and Sentinel; not a Redis Cluster. It
// returns at once, before there is a connection: while there is none, Join and
// Publish return ErrUnavailable. It has three goroutines, whatever the number
// of rooms and members, and one connection beside those of the client's pool.
//
// Close the hub before the process ends, else its members are there for
// others until its lease runs out.
func Redis(o RedisOptions) (Hub, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &redisHub{
		opts:   o,
		client: o.Client,
		server: rand.Text()[:16],
		rooms:  make(map[string]*redisRoom),
	}
	if o.URL != "" {
		ro, err := redis.ParseURL(o.URL)
		if err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
		ro.ContextTimeoutEnabled = true
		ro.DialTimeout, ro.DialerRetries = o.Timeout, 1 // we try again by ourselves
		ro.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		h.client, h.ownClient = redis.NewClient(ro), true
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.link = newLink(h)
	h.clerk = newClerk(h)
	h.running.Go(h.link.run)
	h.running.Go(h.link.subscribe)
	h.running.Go(h.clerk.run)
	return h, nil
}

type redisHub struct {
	opts      RedisOptions
	client    *redis.Client
	ownClient bool
	server    string // this hub, among those that share the rooms
	link      *link
	clerk     *clerk
	entries   atomic.Uint64
	counts    counters
	dead      atomic.Pointer[map[string]bool] // servers whose lease has run out

	ctx     context.Context // of the goroutines
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex            // taken before that of a room
	rooms  map[string]*redisRoom // by channel: those with members here, or about to
	closed bool
}

// acquire is the room of that name, followed from now on. Each call is undone
// by one of release.
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
		h.link.want(channel, true)
	}
	r.users++
	return r, nil
}

func (h *redisHub) release(r *redisRoom) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.users--
	if r.users == 0 && !h.closed {
		delete(h.rooms, r.keys.channel)
		h.link.want(r.keys.channel, false)
	}
}

// roomOf is the room with that channel, nil if nobody is in it here.
func (h *redisHub) roomOf(channel string) *redisRoom {
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

// unavailable wraps what a command of Redis returned, or a wait for it.
func (h *redisHub) unavailable(err error) error {
	if h.ctx.Err() != nil {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func (h *redisHub) Join(ctx context.Context, room string, m Member, j JoinOptions) (*Membership, error) {
	want, err := h.opts.checkJoin(room, m, j)
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return nil, err
	}
	r, err := h.acquire(room)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	member := newMembership(room, m, h.opts.Options, j, &h.counts, func(m *Membership) { h.leave(r, m) })
	member.entry = h.server + "/" + strconv.FormatUint(h.entries.Add(1), 36)
	if err := r.join(ctx, member, want); err != nil {
		member.Leave()
		if err := h.failed(ctx); err != nil {
			return nil, err
		}
		return nil, h.unavailable(err)
	}
	return member, nil
}

// failed is the error of a caller who has given up, nil if it was our timeout.
func (h *redisHub) failed(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return nil
}

func (h *redisHub) leave(r *redisRoom, m *Membership) {
	r.detach(m)
	h.clerk.leave(r, m.entry)
	h.release(r)
}

func (h *redisHub) Publish(ctx context.Context, room string, data []byte) (string, error) {
	// The client tries again when a connection breaks, so every message
	// needs a key.
	return h.PublishOnce(ctx, room, rand.Text()[:16], data)
}

func (h *redisHub) PublishOnce(ctx context.Context, room, key string, data []byte) (string, error) {
	if err := cmp.Or(checkRoom(room), checkName("key", key), h.opts.checkData(data), h.ready(ctx)); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	k := keysOf(h.opts.Prefix, room)
	id, err := publishScript.Run(ctx, h.client, []string{k.stream, k.keys},
		k.channel, key, data, h.opts.History, h.opts.HistoryTTL.Milliseconds()).Text()
	if err != nil {
		return "", h.unavailable(err)
	}
	return id, nil
}

func (h *redisHub) Notify(ctx context.Context, room string, data []byte) error {
	if err := cmp.Or(checkRoom(room), h.opts.checkData(data), h.ready(ctx)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	channel := channelOf(h.opts.Prefix, room)
	if r := h.roomOf(channel); r != nil {
		r.noticeIfAlone(slices.Clone(data))
	}
	if err := h.client.Publish(ctx, channel, formatNotice(data)).Err(); err != nil {
		return h.unavailable(err)
	}
	return nil
}

func (h *redisHub) Members(ctx context.Context, room string) ([]Member, error) {
	if err := cmp.Or(checkRoom(room), h.ready(ctx)); err != nil {
		return nil, err
	}
	k := keysOf(h.opts.Prefix, room)
	if r := h.roomOf(k.channel); r != nil {
		if members, ok := r.members(); ok {
			return members, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	if !h.clerk.begun.Load() {
		if err := h.clerk.beat(ctx, false); err != nil {
			return nil, h.unavailable(err)
		}
	}
	fields, err := h.client.HGetAll(ctx, k.members).Result()
	if err != nil {
		return nil, h.unavailable(err)
	}
	p, dead := presence{}, h.deadServers()
	for entry, m := range parseEntries(fields) {
		if !dead[serverOf(entry)] {
			p.add(entry, m)
		}
	}
	return p.list(), nil
}

// ready is the error of a hub that was closed or a context that has ended.
func (h *redisHub) ready(ctx context.Context) error {
	if h.ctx.Err() != nil {
		return ErrClosed
	}
	return ctx.Err()
}

func (h *redisHub) Stats() Stats { return h.counts.stats(h.link.up()) }

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
	h.link.close()
	h.running.Wait()
	for _, r := range rooms {
		for _, entry := range r.end() {
			h.clerk.leave(r, entry)
		}
	}
	err := h.clerk.goodbye()
	if h.ownClient {
		err = errors.Join(err, h.client.Close())
	}
	return err
}

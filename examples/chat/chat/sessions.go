package chat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast-ws/holdfast/hub"
)

// Sessions keeps who each session is, by its Holdfast-Session, in a place that
// all servers reach: one that takes a session over has nothing else to go by.
//
// Where a session is in its room isn't kept. Only the page knows what it has
// got, and it is asked.
type Sessions interface {
	// Save is called before the page is told that what it asked for holds.
	Save(ctx context.Context, session string, w Who) error
	// Load returns ErrNoSession for one that isn't known.
	Load(ctx context.Context, session string) (Who, error)
	// Touch keeps what is known of a session for another SessionTTL.
	Touch(ctx context.Context, session string) error
}

// SessionTTL is how long a session is known without Save or Touch.
const SessionTTL = time.Hour

// ErrNoSession says that nothing is known of a session.
var ErrNoSession = errors.New("chat: no such session")

// RedisSessions keeps sessions in Redis, under prefix and the session's ID.
// The client stays the caller's.
func RedisSessions(client *redis.Client, prefix string) Sessions {
	return redisSessions{client, prefix}
}

type redisSessions struct {
	client *redis.Client
	prefix string
}

func (s redisSessions) Save(ctx context.Context, session string, w Who) error {
	data, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return s.client.Set(ctx, s.prefix+session, data, SessionTTL).Err()
}

func (s redisSessions) Load(ctx context.Context, session string) (w Who, err error) {
	data, err := s.client.Get(ctx, s.prefix+session).Bytes()
	if errors.Is(err, redis.Nil) {
		return Who{}, ErrNoSession
	}
	if err != nil {
		return Who{}, err
	}
	if err := json.Unmarshal(data, &w); err != nil {
		return Who{}, fmt.Errorf("chat: session %s: %w", session, err)
	}
	return w, nil
}

func (s redisSessions) Touch(ctx context.Context, session string) error {
	return s.client.Expire(ctx, s.prefix+session, SessionTTL).Err()
}

// MemorySessions keeps sessions in this process, for one server or for tests.
// It forgets none.
func MemorySessions() Sessions { return &memorySessions{all: map[string]Who{}} }

type memorySessions struct {
	mu  sync.Mutex
	all map[string]Who
}

func (s *memorySessions) Save(_ context.Context, session string, w Who) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[session] = w
	return nil
}

func (s *memorySessions) Load(_ context.Context, session string) (Who, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.all[session]
	if !ok {
		return Who{}, ErrNoSession
	}
	return w, nil
}

func (*memorySessions) Touch(context.Context, string) error { return nil }

// RedisClient is a client of the Redis server at url for OnRedis. It tells of an
// outage at once, since pages try again. The caller closes it.
func RedisClient(url string) (*redis.Client, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	o.ContextTimeoutEnabled, o.DialerRetries = true, 1
	return redis.NewClient(o), nil
}

// OnRedis are the rooms and the sessions that all chat servers on the same
// Redis server share. Close the rooms before the client, which stays the
// caller's.
func OnRedis(client *redis.Client) (hub.Hub, Sessions, error) {
	rooms, err := hub.Redis(hub.RedisOptions{
		Options: hub.Options{History: 500},
		Client:  client, Prefix: "chat:", Lease: 5 * time.Second, Logger: slog.Default(),
	})
	return rooms, RedisSessions(client, "chat:session:"), err
}

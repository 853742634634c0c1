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

// Sessions stores the state of sessions by their Holdfast-Session ID, so that
// another server can take them over.
//
// The last message that a page has received isn't stored. Only the page knows it,
// and sends it when the session has moved.
type Sessions interface {
	// Save is called before the page is told about the change.
	Save(ctx context.Context, session string, w Who) error
	// Load returns ErrNoSession if the session isn't stored.
	Load(ctx context.Context, session string) (Who, error)
	// Touch keeps the state for another SessionTTL.
	Touch(ctx context.Context, session string) error
}

// SessionTTL is how long a session is stored without Save or Touch.
const SessionTTL = time.Hour

// ErrNoSession means that a session isn't stored.
var ErrNoSession = errors.New("chat: no such session")

// RedisSessions stores sessions in Redis. The key is prefix followed by the
// session's ID. The caller closes the client.
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

// MemorySessions stores sessions in this process, for a single server or for
// tests. It never removes any.
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

// RedisClient returns a client for OnRedis. It doesn't retry connecting, so that
// pages learn of an outage at once; they retry themselves. The caller closes it.
func RedisClient(url string) (*redis.Client, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	o.ContextTimeoutEnabled, o.DialerRetries = true, 1
	return redis.NewClient(o), nil
}

// OnRedis returns the rooms and sessions shared by all chat servers that use the
// same Redis server. The caller closes the rooms, and then the client.
func OnRedis(client *redis.Client) (hub.Hub, Sessions, error) {
	rooms, err := hub.Redis(hub.RedisOptions{
		Options: hub.Options{History: 500},
		Client:  client, Prefix: "chat:", Lease: 5 * time.Second, Log: slog.Default(),
	})
	return rooms, RedisSessions(client, "chat:session:"), err
}

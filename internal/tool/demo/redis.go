package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// openRedis returns the URL of a running Redis server: given, or if that is empty,
// that of a server in this process. The latter has a password, so that other users
// of the machine can't use it. The caller must call close.
func openRedis(ctx context.Context, given string) (address string, close func(), err error) {
	if given != "" {
		return given, func() {}, pingRedis(ctx, given)
	}
	server := miniredis.NewMiniRedis()
	password := rand.Text()
	server.RequireAuth(password)
	if err := server.StartAddr("127.0.0.1:0"); err != nil {
		return "", nil, fmt.Errorf("redis: %w", err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer func() { server.Close(); stopped <- struct{}{} }()
		expire(server, stop)
	}()
	u := url.URL{Scheme: "redis", User: url.UserPassword("default", password), Host: server.Addr()}
	return u.String(), func() { stop <- struct{}{}; <-stopped }, nil
}

// expire advances the server's clock. miniredis doesn't expire keys by itself.
func expire(server *miniredis.Miniredis, stop <-chan struct{}) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-second.C:
			server.FastForward(time.Second)
		case <-stop:
			return
		}
	}
}

// pingRedis returns an error if the Redis server doesn't answer.
func pingRedis(ctx context.Context, address string) error {
	o, err := redis.ParseURL(address)
	if err != nil {
		return fmt.Errorf("--redis: %w", err)
	}
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
	silenceRedisLogs()
	client := redis.NewClient(o)
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("--redis %s: %w", o.Addr, err)
	}
	return nil
}

// silenceRedisLogs stops the client from printing errors that it also returns.
func silenceRedisLogs() { redis.SetLogger(&logging.VoidLogger{}) }

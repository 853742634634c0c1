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

// openRedis returns the URL of a Redis server that answers: the one that is
// given, or else one of this process, for which close has to be called. Its
// password keeps other users of the machine out.
func openRedis(ctx context.Context, given string) (address string, close func(), err error) {
	if given != "" {
		return given, func() {}, answers(ctx, given)
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

// expire has keys expire, which this server leaves to its owner.
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

// answers tells whether a Redis server does.
func answers(ctx context.Context, address string) error {
	o, err := redis.ParseURL(address)
	if err != nil {
		return fmt.Errorf("--redis: %w", err)
	}
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
	silence()
	client := redis.NewClient(o)
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("--redis %s: %w", o.Addr, err)
	}
	return nil
}

// silence has the client not print what it returns as errors, too.
func silence() { redis.SetLogger(&logging.VoidLogger{}) }

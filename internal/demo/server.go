package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/holdfast-ws/holdfast/backend"
	"github.com/holdfast-ws/holdfast/examples/chat/chat"
)

// What a server process is told by the fleet.
const (
	// redisEnv has the URL of the Redis server. Arguments could be read by
	// other users, and there is a password in it.
	redisEnv = "HOLDFAST_DEMO_REDIS"
	// drainOrder is a line on standard input. A signal would do where there
	// are signals.
	drainOrder = "drain"
)

// notice is how long a server that drains waits for the balancer to hear of it
// and move its sessions: half a second, and 3 s over which that is spread.
const notice = 6 * time.Second

// ServerOptions of one chat server.
type ServerOptions struct {
	// Name is shown to users, as in "chat-1".
	Name string
	// Listen is the address to serve on; port 0 takes a free one.
	Listen string
	// Stdout gets the address that is served as its first line.
	Stdout io.Writer
	// Orders is read to its end, which ends the server at once: it comes when
	// the demo has ended, however that was. "drain" ends the server politely.
	Orders io.Reader
}

// Serve runs one chat server until it is drained, by its orders or by SIGTERM,
// or its orders end. Then the process is to end: it may still have sessions.
func Serve(ctx context.Context, o ServerOptions) error {
	address := os.Getenv(redisEnv)
	if address == "" {
		return fmt.Errorf("demo-server: %s is not set: servers are started by `holdfast demo`", redisEnv)
	}
	silence() // the hub says when Redis is lost
	client, err := chat.RedisClient(address)
	if err != nil {
		return fmt.Errorf("demo-server %s: %s: %w", o.Name, redisEnv, err)
	}
	defer client.Close()
	rooms, sessions, err := chat.OnRedis(client)
	if err != nil {
		return fmt.Errorf("demo-server %s: %w", o.Name, err)
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("demo-server %s: %w", o.Name, err), rooms.Close())
	}
	fmt.Fprintln(o.Stdout, listener.Addr())

	kit := backend.New(backend.Options{
		MaxSessions: 10_000, Notice: notice, DrainTimeout: 2 * notice,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	ctx, drain := context.WithCancel(ctx)
	defer drain()
	served := make(chan error, 1)
	go func() {
		handler := chat.New(chat.Options{Name: o.Name, Kit: kit, Rooms: rooms, Sessions: sessions, Script: controlsPath + "/" + controlsScript}).Handler()
		err := kit.Serve(ctx, listener, knownHost(handler))
		served <- errors.Join(err, rooms.Close())
	}()
	select {
	case err = <-served:
	case <-follow(o.Orders, drain):
		_ = rooms.Close() // if Redis can't be told, the members go with the lease
	}
	if err != nil {
		return fmt.Errorf("demo-server %s: %w", o.Name, err)
	}
	return nil
}

// follow carries out orders; the channel is closed at their end.
func follow(orders io.Reader, drain func()) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(orders); lines.Scan(); {
			if lines.Text() == drainOrder {
				drain()
			}
		}
	}()
	return ended
}

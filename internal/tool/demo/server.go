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

// How the fleet communicates with a server process.
const (
	// redisEnv has the URL of the Redis server. It isn't an argument because it
	// contains a password, and other users can read arguments.
	redisEnv = "HOLDFAST_DEMO_REDIS"
	// drainCommand is a line on standard input, which unlike a signal also works
	// on Windows.
	drainCommand = "drain"
)

// drainNotice is how long a draining server waits until the balancer has noticed,
// within 0.5 s, and has moved its sessions, spread over 3 s.
const drainNotice = 6 * time.Second

// ServerOptions configures Serve.
type ServerOptions struct {
	// Name is shown to users, for example "chat-1".
	Name string
	// Listen is the address to listen on. Port 0 selects a free port.
	Listen string
	// Stdout gets the server's address as its first line.
	Stdout io.Writer
	// Commands has one command per line. "drain" drains the server. At the end
	// of Commands, which means that the demo has ended, Serve returns at once.
	Commands io.Reader
}

// Serve runs a chat server until it is drained, by a command or by SIGTERM, or until
// its commands end. The process must exit then, because it may still have sessions.
func Serve(ctx context.Context, o ServerOptions) error {
	address := os.Getenv(redisEnv)
	if address == "" {
		return fmt.Errorf("demo-server: %s is not set: this command is for `holdfast demo`", redisEnv)
	}
	silenceRedisLogs() // the hub logs when Redis is lost
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
		MaxSessions: 10_000, Notice: drainNotice, DrainTimeout: 2 * drainNotice,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	ctx, drain := context.WithCancel(ctx)
	defer drain()
	served := make(chan error, 1)
	go func() {
		handler := chat.New(chat.Options{Name: o.Name, Kit: kit, Rooms: rooms, Sessions: sessions, Script: controlsPath + "/" + controlsScript}).Handler()
		err := kit.Serve(ctx, listener, requireLocalHost(handler))
		served <- errors.Join(err, rooms.Close())
	}()
	select {
	case err = <-served:
	case <-runCommands(o.Commands, drain):
		_ = rooms.Close() // if this fails, the members are removed when the lease expires
	}
	if err != nil {
		return fmt.Errorf("demo-server %s: %w", o.Name, err)
	}
	return nil
}

// runCommands executes commands. It closes the returned channel at their end.
func runCommands(commands io.Reader, drain func()) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(commands); lines.Scan(); {
			if lines.Text() == drainCommand {
				drain()
			}
		}
	}()
	return ended
}

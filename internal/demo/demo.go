// Package demo is `holdfast demo`: the chat of docs/chat.md behind the
// balancer, to be used, broken and watched by hand.
//
// This process runs the balancer, and behind it the controls that the page
// shows, guests to have something to look at, and a Redis server of its own
// unless it is given one. Each chat server is a child process, that can be
// drained, killed and added from the page.
package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/admin"
)

// MostServers bounds how many chat servers there are at a time.
const MostServers = 9

// Options of `holdfast demo`.
type Options struct {
	// Listen is the balancer's address, as in "127.0.0.1:8080".
	Listen string
	// Servers is the number of chat servers to begin with, 1 to MostServers.
	Servers int
	// Guests is how many sessions of the demo's own there are.
	Guests int
	// Redis is the URL of the Redis server that the chat servers share; ""
	// has the demo run one.
	Redis string
	// LogLevel is the balancer's: debug, info, warn or error.
	LogLevel string
	// Stdout gets what the user reads. Run serializes its writes.
	Stdout io.Writer
	// Executable is the holdfast binary. It is started as
	// `EXE demo-server --name chat-1 --listen 127.0.0.1:0`.
	Executable string
	// Balance starts the balancer of a configuration file.
	Balance func(file string) (Balancer, error)
}

// Balancer is a running balancer.
type Balancer interface {
	// Addresses are those that it listens on.
	Addresses() []string
	Status() admin.Status
	// Shutdown closes all sessions. It returns when it has, or ctx is done,
	// and how many were cut.
	Shutdown(ctx context.Context) (cut int)
}

// Run starts everything, and ends it all when ctx is done, which is not an
// error: first the balancer, so that it can close its sessions politely, then
// the servers, then Redis. No child process is left when Run returns; the
// children end by themselves when this process is killed.
func Run(ctx context.Context, o Options) (err error) {
	if o.Servers < 1 || o.Servers > MostServers {
		return fmt.Errorf("demo: %d servers: 1 to %d can be had", o.Servers, MostServers)
	}
	redis, closeRedis, err := openRedis(ctx, o.Redis)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer closeRedis()
	dir, err := os.MkdirTemp("", "holdfast-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer os.RemoveAll(dir)

	out := &printer{w: o.Stdout}
	servers := newFleet(starter{executable: o.Executable, redis: redis, out: out}, filepath.Join(dir, backendsFile))
	defer servers.close()
	for range o.Servers {
		if err := servers.add(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("demo: %w", err)
		}
	}
	panel := &controls{servers: servers}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("demo: controls: %w", err)
	}
	defer panel.serve(listener)()

	file, err := writeConfig(dir, o, listener.Addr().String())
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	balancer, err := o.Balance(file)
	if err != nil {
		return err
	}
	address := browsable(balancer.Addresses()[0])
	guests := &guests{url: "ws://" + address + "/ws", number: o.Guests}
	panel.begin(balancer, guests)
	out.printf("the balancer's configuration is %s\n", file)
	out.printf("open http://%s\n", address)
	out.printf("drain, kill and add servers on the page, or kill -9 one of the pids above; Ctrl-C ends all\n")

	var running sync.WaitGroup
	running.Go(func() { guests.run(ctx) })
	<-ctx.Done()
	running.Wait()
	balancer.Shutdown(context.WithoutCancel(ctx))
	return nil
}

// browsable makes a listening address one that a browser on this machine can
// open: a wildcard is not.
func browsable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// printer writes whole lines from several goroutines.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *printer) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format, args...)
}

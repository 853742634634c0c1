// Package demo implements `holdfast demo`: the chat of docs/chat.md behind the
// balancer, on a single machine, with a page that shows the servers and can drain,
// kill and add some.
//
// Each chat server is a child process. The parent process runs the balancer, the
// HTTP API of the page, sessions called guests so that there is something to watch,
// and unless it is given one, a Redis server.
package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// MaxServers is the maximum number of chat servers at a time.
const MaxServers = 9

// Options configures Run.
type Options struct {
	// Listen is the balancer's address, for example "127.0.0.1:8080".
	Listen string
	// Servers is the number of chat servers to start, 1 to MaxServers.
	Servers int
	// Guests is the number of sessions that the demo opens itself.
	Guests int
	// Redis is the URL of the Redis server that the chat servers share. If it
	// is empty, the demo runs one itself.
	Redis string
	// LogLevel is the level of the balancer's log: debug, info, warn or error.
	LogLevel string
	// Stdout gets messages for the user. Run serializes its writes.
	Stdout io.Writer
	// Executable is the holdfast binary. Run starts it as
	// `EXECUTABLE demo-server --name chat-1 --listen 127.0.0.1:0`.
	Executable string
	// Balance starts a balancer with a configuration file.
	Balance func(file string) (Balancer, error)
}

// Balancer is a running balancer.
type Balancer interface {
	// Addresses returns the addresses that it listens on.
	Addresses() []string
	// AdminAddr returns the admin address, "" if there is none.
	AdminAddr() string
	Status() api.Status
	// Shutdown closes all sessions. It blocks until that is done or ctx ends,
	// and returns the number of sessions that were cut off.
	Shutdown(ctx context.Context) (cut int)
}

// Run starts the demo and blocks until ctx ends, which is not an error. Then it
// stops the balancer, so that it can close its sessions in order, then the servers,
// and then Redis. When Run returns, no child process is left. If this process is
// killed, the child processes exit by themselves.
func Run(ctx context.Context, o Options) (err error) {
	if o.Servers < 1 || o.Servers > MaxServers {
		return fmt.Errorf("demo: %d servers: must be 1 to %d", o.Servers, MaxServers)
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
	address := browserAddress(balancer.Addresses()[0])
	guests := &guests{url: "ws://" + address + "/ws", number: o.Guests}
	dashboard := ""
	if a := balancer.AdminAddr(); a != "" {
		dashboard = "http://" + browserAddress(a) + "/"
	}
	panel.setLive(balancer, guests, dashboard)
	out.printf("configuration of the balancer: %s\n", file)
	out.printf("open http://%s\n", address)
	if dashboard != "" {
		out.printf("dashboard of the balancer: %s\n", dashboard)
	}
	out.printf("drain, kill and add servers on the page, or kill -9 one of the pids above; Ctrl-C stops the demo\n")

	var running sync.WaitGroup
	running.Go(func() { guests.run(ctx) })
	<-ctx.Done()
	running.Wait()
	balancer.Shutdown(context.WithoutCancel(ctx))
	return nil
}

// browserAddress returns an address with which a browser on this machine can reach
// a listener. It replaces a wildcard by 127.0.0.1.
func browserAddress(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// printer writes lines. It is safe for concurrent use.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *printer) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format, args...)
}

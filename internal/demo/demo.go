// Package demo is `holdfast demo`: a chat served by several processes behind
// the balancer, to be used, broken and watched by hand.
//
// The parent process runs the balancer and a hub; each chat server is a child
// process. The hub numbers the messages, keeps the last few and hands them to
// every server, so that it does not matter which server a page is connected
// to, and no Redis is needed. A server that dies is started again on its port.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// restartDelay is how long a dead server stays away: long enough to see the
// page move to another one.
const restartDelay = 2 * time.Second

// Options of `holdfast demo`.
type Options struct {
	// Listen is the balancer's address, as in "127.0.0.1:8080".
	Listen string
	// Servers is the number of chat servers, at least 1.
	Servers int
	// Stdout gets what the user reads. Run serializes its writes.
	Stdout io.Writer
	// Executable is the holdfast binary. It is started as
	// `EXE demo-server --name chat-1 --listen 127.0.0.1:0 --hub 127.0.0.1:PORT`.
	Executable string
	// Balance runs the balancer in front of the backends until ctx is done,
	// and calls ready once with the address it listens on.
	Balance func(ctx context.Context, listen string, backends []Backend, ready func(addr string)) error
}

// Backend is one chat server, as the balancer is told of it. Its address stays
// the same when the server is restarted.
type Backend struct{ Name, Address string }

// Run starts the hub, the servers and the balancer, and ends them all when ctx
// is done, which is not an error: first the balancer, so that it can close its
// sessions politely, then the servers. No child process is left when Run
// returns; the children end by themselves when the parent is killed.
func Run(ctx context.Context, o Options) (err error) {
	if o.Servers < 1 {
		return fmt.Errorf("demo: %d servers: at least 1 is needed", o.Servers)
	}
	token := rand.Text()
	hub, err := startHub(token)
	if err != nil {
		return fmt.Errorf("demo: hub: %w", err)
	}
	defer hub.close()

	out := &printer{w: o.Stdout}
	servers := &supervisor{executable: o.Executable, hub: hub.addr(), token: token, out: out, delay: restartDelay}

	// The servers outlive ctx: the balancer needs them while it closes.
	serversCtx, endServers := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer endServers()

	var backends []Backend
	for i := range o.Servers {
		name := fmt.Sprintf("chat-%d", i+1)
		p, err := servers.start(ctx, name, "127.0.0.1:0")
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		out.printf("server %s (pid %d) listens on %s\n", p.name, p.pid(), p.address)
		running.Go(func() { servers.keep(serversCtx, p) })
		backends = append(backends, Backend{Name: name, Address: p.address})
	}

	err = o.Balance(ctx, o.Listen, backends, func(addr string) {
		out.printf("open http://%s\n", browsable(addr))
		out.printf("to see it survive: kill -9 one of the pids above, or use the page's buttons; Ctrl-C ends all\n")
	})
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
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

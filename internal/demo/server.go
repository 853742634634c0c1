package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// The environment of a server process that Run starts.
const (
	// tokenEnv holds the hub's token. Arguments could be read by other users.
	tokenEnv = "HOLDFAST_DEMO_TOKEN"
	// parentEnv set to parentIsStdin makes the server end when its standard
	// input does.
	parentEnv     = "HOLDFAST_DEMO_PARENT"
	parentIsStdin = "stdin"
)

// closeTimeout bounds the closing handshakes of a server that ends.
const closeTimeout = 2 * time.Second

// ServerOptions of one chat server.
type ServerOptions struct {
	// Name is shown to users, as in "chat-1".
	Name string
	// Listen is the address to serve on; port 0 takes a free one.
	Listen string
	// Hub is the hub's address. The hub's token is taken from the environment
	// variable HOLDFAST_DEMO_TOKEN.
	Hub string
	// Stdout gets the address that is served as its first line.
	Stdout io.Writer
}

// server is one running chat server.
type server struct {
	name string
	room *room
	link *hubLink
	// hard is done when open connections are given up.
	hard context.Context
	// crash ends this process as kill -9 does.
	crash func()
}

// Serve runs one chat server until ctx is done (then it returns nil): the
// page on /, the chat on /ws, and /health. It closes its WebSockets with 1001
// and waits at most two seconds for the clients' answers.
func Serve(ctx context.Context, o ServerOptions) error {
	token := os.Getenv(tokenEnv)
	if token == "" {
		return fmt.Errorf("demo-server: %s is not set: servers are started by `holdfast demo`", tokenEnv)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if os.Getenv(parentEnv) == parentIsStdin {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("demo-server %s: %w", o.Name, err)
	}
	fmt.Fprintln(o.Stdout, listener.Addr())

	hard, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	room := newRoom()
	s := &server{
		name: o.Name, room: room, hard: hard, crash: killMyself,
		link: &hubLink{hub: o.Hub, self: hello{Token: token, Server: o.Name}, room: room},
	}
	linkCtx, endLink := context.WithCancel(hard)
	linkFailed := make(chan error, 1)
	go func() {
		linkFailed <- s.link.run(linkCtx)
		cancel()
	}()
	err = s.serveHTTP(ctx, listener, giveUp)
	endLink()
	if err = errors.Join(err, <-linkFailed); err != nil {
		return fmt.Errorf("demo-server %s: %w", o.Name, err)
	}
	return nil
}

// serveHTTP serves until ctx is done, then closes every connection in order;
// giveUp is called when that takes too long.
func (s *server) serveHTTP(ctx context.Context, listener net.Listener, giveUp func()) error {
	var handlers sync.WaitGroup
	web := &http.Server{
		Handler:           s.handler(&handlers),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // bad requests are the clients' business
	}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()

	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	s.room.close()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	defer context.AfterFunc(closing, giveUp)()
	if web.Shutdown(closing) != nil {
		_ = web.Close()
	}
	// Shutdown knows nothing of hijacked connections. No handler starts any
	// more: those that ran then are hijacked or done.
	handlers.Wait()
	if err == nil {
		<-failed // http.ErrServerClosed, after the listener is closed
	}
	return err
}

// handler is the server's whole HTTP interface. It counts running handlers.
func (s *server) handler(running *sync.WaitGroup) http.Handler {
	mux := http.NewServeMux()
	servePage(mux)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		if !s.room.connected() {
			http.Error(w, "no connection to the hub", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /ws", knownHost(http.HandlerFunc(s.chat)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		mux.ServeHTTP(w, r)
	})
}

// killMyself ends the process without any goodbye, as kill -9 does.
func killMyself() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		os.Exit(137)
	}
}

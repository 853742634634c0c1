package backend

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// ErrSignal is wrapped by the error of Run and Serve if a second signal ended the
// drain.
var ErrSignal = errors.New("a second signal ended the drain")

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// plainTimeout limits the wait for plain HTTP requests after the drain.
	plainTimeout = 3 * time.Second
)

// Run listens on the TCP address addr, or ":http" if addr is empty, and then
// calls [Backend.Serve]. It also returns an error if it can't listen.
func (b *Backend) Run(ctx context.Context, addr string, h http.Handler) error {
	if addr == "" {
		addr = ":http"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	b.log.Info("serving", "address", l.Addr().String())
	return b.Serve(ctx, l, h)
}

// Serve serves HTTP on l with Handler(h), or Handler(http.DefaultServeMux) if h is
// nil, until the process receives SIGTERM or an interrupt (Ctrl-C), or ctx ends.
// Then it drains while it continues to serve, and finally closes l. A second
// signal ends the drain at once.
//
// Serve returns nil if all sessions have ended in order. Otherwise the error wraps
// ErrDrainTimeout, ErrSignal, or the error of accepting connections. To report it
// in the exit status, end main with
//
//	if err := kit.Run(ctx, addr, nil); err != nil {
//		log.Fatal(err)
//	}
//
// The connections of remaining sessions stay open until their handlers return or
// the process ends. While Serve runs, the two signals don't end the process. Serve
// may be called only once.
//
// If you need an http.Server of your own, for example for TLS, use Handler and
// Drain instead:
//
//	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//	server := &http.Server{Handler: kit.Handler(mux), ...}
//	go server.ListenAndServeTLS(cert, key)
//	<-ctx.Done()
//	stop() // a second signal ends the process
//	kit.Drain(context.Background())
//	server.Shutdown(...)
func (b *Backend) Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	return b.serve(ctx, l, h, signals)
}

func (b *Backend) serve(ctx context.Context, l net.Listener, h http.Handler, signals <-chan os.Signal) error {
	if h == nil {
		h = http.DefaultServeMux
	}
	server := &http.Server{
		Handler:           b.Handler(h),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(b.log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	case <-signals:
	}
	draining, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	go func() {
		select {
		case <-signals:
			stop(ErrSignal)
		case <-draining.Done():
		}
	}()
	err := b.Drain(draining)
	shutdown, cancel := context.WithTimeout(draining, plainTimeout)
	defer cancel()
	if server.Shutdown(shutdown) != nil {
		_ = server.Close()
	}
	<-failed // http.ErrServerClosed, after l is closed
	return err
}

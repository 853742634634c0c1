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

// ErrSignal is what the error of Run and Serve wraps when a second signal
// ended the drain.
var ErrSignal = errors.New("a second signal ended the drain")

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// plainTimeout bounds the wait for plain HTTP requests once the sessions
	// are gone.
	plainTimeout = 3 * time.Second
)

// Run listens on the TCP address addr (":http" if it is "") and then is Serve.
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

// Serve serves HTTP on l with Handler(h), or Handler(http.DefaultServeMux) if
// h is nil, until the process gets SIGTERM or an interrupt (Ctrl-C), or ctx is
// done. Then it drains, still serving, and in the end closes l. A second
// signal ends the drain at once.
//
// It returns nil when every session has ended in order. Else the error wraps
// ErrDrainTimeout, ErrSignal, or what accepting connections failed with; to
// have the exit status say so, end main with
//
//	if err := kit.Run(ctx, addr, nil); err != nil {
//		log.Fatal(err)
//	}
//
// The connections of sessions that are left stay open until their handlers, or
// the process, end. From the call until the return the two signals don't end
// the process. Serve is called once.
//
// For a server of your own, with TLS for example, use Handler and Drain:
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

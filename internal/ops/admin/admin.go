// Package admin is the balancer's HTTP interface for operators: the API under /v1/, which
// ops/api models, with health and metrics. internal/app creates the Server and is its
// Balancer; ops/client talks to it. The package doesn't know the balancer itself: it only
// translates between HTTP and Balancer.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Options of a Server.
type Options struct {
	Balancer Balancer
	// Host is the host name of the configured address, "" if that has an IP
	// address. Requests may use it in their Host header.
	Host string
	// Draining reports whether the balancer is shutting down. It must be safe for
	// concurrent use.
	Draining func() bool
	Metrics  http.Handler
	// Pages are the dashboard's: it gets GET requests for / and /assets/. Nil for none.
	Pages http.Handler
	// Log must be given.
	Log *slog.Logger
}

// Server serves the admin interface.
type Server struct {
	o    Options
	http *http.Server
	// stop ends streams of events at the shutdown.
	stop    context.CancelFunc
	stopped context.Context
}

// New returns a Server. The caller calls Serve.
func New(o Options) *Server {
	s := &Server{o: o}
	s.stopped, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // of the whole response, a reload included; streams have none
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	s.http.RegisterOnShutdown(s.stop)
	return s
}

// Serve accepts connections on l until Shutdown, and then returns nil. It closes
// l.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown ends streams of events, waits for other requests that are running until ctx is
// done, and then cuts the rest.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}

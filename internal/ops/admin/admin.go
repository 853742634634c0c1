// Package admin is the balancer's HTTP interface for operators: the API under /v1/, which
// ops/api models, the dashboard, health and metrics. internal/app creates the Server and is
// its Balancer; ops/client talks to it. The package doesn't know the balancer itself: it
// only translates between HTTP and Balancer.
package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
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
	// Done is called after each request, with its method and its path as a pattern of
	// http.ServeMux, such as "GET /v1/pools/{pool}"; "" for one that doesn't exist. Nil for
	// none.
	Done func(endpoint string, status int)
	// Clients returns the authorities of client certificates that requests by TLS need now;
	// nil if they need none. It must be safe for concurrent use. Nil for none.
	Clients func() *x509.CertPool
	// Log must be given.
	Log *slog.Logger
}

// Server serves the admin interface on one or several addresses.
type Server struct {
	o      Options
	http   *http.Server
	tokens atomic.Pointer[Tokens]
	// stop ends streams of events at the shutdown.
	stop    context.CancelFunc
	stopped context.Context
	streams chan struct{} // has an item for each stream
}

const (
	// maxConnections bounds those of a listener: further ones wait.
	maxConnections = 512
	// maxStreams bounds streams of events.
	maxStreams = 100
)

// New returns a Server. The caller calls Serve.
func New(o Options) *Server {
	s := newServer(o)
	s.http.Handler = s.handler()
	return s
}

// NewHealth returns a Server that answers GET /health and nothing else, for an address that
// anybody may reach. Of the options, only Draining, Done and Log are needed.
func NewHealth(o Options) *Server {
	s := newServer(o)
	s.http.IdleTimeout = 10 * time.Second
	s.http.Handler = s.healthOnly()
	return s
}

func newServer(o Options) *Server {
	s := &Server{o: o, streams: make(chan struct{}, maxStreams)}
	s.stopped, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{
		BaseContext: func(l net.Listener) context.Context {
			return context.WithValue(context.Background(), localKey{}, l.Addr().Network() == "unix")
		},
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

// SetTokens sets the tokens that requests by TCP need from now on; nil for none.
func (s *Server) SetTokens(t *Tokens) { s.tokens.Store(t) }

// Serve accepts connections on l until Shutdown, with TLS unless secure is nil, and then
// returns nil. It closes l. Several calls may run at once.
func (s *Server) Serve(l net.Listener, secure *tls.Config) error {
	l = netutil.LimitListener(l, maxConnections)
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
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

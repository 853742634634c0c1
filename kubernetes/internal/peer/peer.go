// Package peer is the HTTP server for the cluster: probes of the kubelet, Prometheus, and
// the other replicas. It only answers questions. What changes something is on the admin
// interface, which listens in the pod alone.
package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Server is the server. It runs from before the first list of objects until the end of
// the shutdown.
type Server struct {
	http     http.Server
	listener net.Listener
	done     chan struct{}
}

// Options say what is served.
type Options struct {
	Address string // such as :9901
	// NotReady returns why the balancer should get no new clients, "" if it should.
	NotReady func() string
	// Handlers are those of other paths, by pattern of http.ServeMux.
	Handlers map[string]http.Handler
	Log      *slog.Logger
}

// Start listens, and serves until Close.
func Start(o Options) (*Server, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		if why := o.NotReady(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	for pattern, handler := range o.Handlers {
		mux.Handle(pattern, handler)
	}
	listener, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("--peer-address: %w", err)
	}
	s := &Server{listener: listener, done: make(chan struct{})}
	s.http = http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("the server of --peer-address ended", "error", err)
		}
	}()
	return s, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close ends the server. Requests have a second to end.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
	<-s.done
}

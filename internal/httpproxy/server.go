package httpproxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// ServerOptions of a Server.
type ServerOptions struct {
	// Addr is what the server tells as its address; connections have theirs.
	Addr    net.Addr
	Handler http.Handler
	// ReadHeaderTimeout bounds the time for a request's head, on a
	// connection kept alive from its first byte; 0 means 10 seconds.
	ReadHeaderTimeout time.Duration
	// OnWebSocket is called in place of Handler for a request that asks for a
	// WebSocket; nil means that Handler gets those too.
	OnWebSocket func(w http.ResponseWriter, r *http.Request)
	// ConnEnded is called once for each connection that Hand took, when it
	// was closed or hijacked; nil is allowed.
	ConnEnded func()
	// Log must be given.
	Log *slog.Logger
}

const (
	// keepAlive is how long a connection may wait for its next request.
	keepAlive = 75 * time.Second
	// maxHeaderBytes bounds a request's head, give or take net/http's slack.
	maxHeaderBytes = 64 << 10
)

// Server is an http.Server for connections that something else accepted.
type Server struct {
	http     *http.Server
	listener *Listener
}

// NewServer makes a Server; it serves from Serve on.
func NewServer(o ServerOptions) *Server {
	handler := o.Handler
	if o.OnWebSocket != nil {
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if IsWebSocket(r) {
				o.OnWebSocket(w, r)
				return
			}
			o.Handler.ServeHTTP(w, r)
		})
	}
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &Server{
		listener: NewListener(o.Addr),
		// No ReadTimeout nor WriteTimeout: bodies may stream for hours.
		http: &http.Server{
			Handler:           handler,
			Protocols:         http1,
			ReadHeaderTimeout: orDefault(o.ReadHeaderTimeout, 10*time.Second),
			IdleTimeout:       keepAlive,
			MaxHeaderBytes:    maxHeaderBytes,
			ConnState: func(_ net.Conn, state http.ConnState) {
				if o.ConnEnded != nil && (state == http.StateClosed || state == http.StateHijacked) {
					o.ConnEnded()
				}
			},
			ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		},
	}
}

// Hand takes over conn, of which already was read before, and never waits. A
// connection that can't be taken is closed; false tells so.
func (s *Server) Hand(conn net.Conn, already []byte) bool {
	return s.listener.Hand(PrefixConn(conn, already))
}

// Serve serves the connections handed over until Shutdown, and returns nil
// then.
func (s *Server) Serve() error {
	err := s.http.Serve(s.listener)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Shutdown takes no more connections, closes idle ones, lets requests come to
// their end until ctx is over, and then breaks off what is left; ctx's error
// tells that it had to. Hijacked connections are left alone.
func (s *Server) Shutdown(ctx context.Context) error {
	s.listener.Close() // also where Serve was never called
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}

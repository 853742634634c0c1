// Package admin is the balancer's HTTP interface for those who run it: health,
// metrics, status and reload. Client is its other end, for the command line.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Options of a Server. All functions may be called from any goroutine.
type Options struct {
	// Host is the host name in the configured address, if it is one; requests
	// may name it in their Host header.
	Host string
	// Draining tells that the balancer is shutting down.
	Draining func() bool
	Metrics  http.Handler
	// Reload takes the changed configuration. An error's text has one line
	// for each mistake.
	Reload func(ctx context.Context) (warnings []string, err error)
	Status func() Status
	// Drain has a backend, "POOL/BACKEND", emptied within timeout; below 0
	// is what its pool says. Undrain takes that back. An error's text is told.
	Drain   func(backend string, timeout time.Duration) error
	Undrain func(backend string) error
	// Sessions lists limit live sessions at most.
	Sessions func(limit int) []Session
	// Pprof adds net/http/pprof under /debug/pprof/.
	Pprof bool
	// Log must be given.
	Log *slog.Logger
}

// Limits of GET /sessions.
const (
	DefaultSessions = 100
	MaxSessions     = 10_000
)

// Server answers on the admin address.
type Server struct {
	o    Options
	http *http.Server
}

// New makes a Server; it answers from Serve on.
func New(o Options) *Server {
	s := &Server{o: o}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // a CPU profile takes as long as was asked for
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return s
}

// Serve answers on l, which it closes in the end, until Shutdown; it returns
// nil then.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown lets requests come to their end until ctx is over, and breaks off
// the rest.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}

// routes puts everything but /health and /metrics, which tell nothing worth
// stealing and are asked under whatever name a monitor knows, behind guard.
func (s *Server) routes() http.Handler {
	guarded := http.NewServeMux()
	guarded.HandleFunc("POST /reload", s.reload)
	guarded.HandleFunc("GET /status", s.status)
	guarded.HandleFunc("POST /drain", s.drain)
	guarded.HandleFunc("POST /undrain", s.undrain)
	guarded.HandleFunc("GET /sessions", s.sessions)
	if s.o.Pprof {
		guarded.HandleFunc("GET /debug/pprof/", pprof.Index)
		guarded.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		guarded.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		guarded.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		guarded.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	all := http.NewServeMux()
	all.HandleFunc("GET /health", s.health)
	all.Handle("GET /metrics", s.o.Metrics)
	all.Handle("/", s.guard(guarded))
	return all
}

// guard keeps web pages in the operator's browser out.
//
// A page of any site can send requests to an address that only this machine
// can reach. To change something takes a POST, which browsers mark with Origin
// and Sec-Fetch-Site; no command line tool sends either. To read an answer, a
// page has to have the same origin, which an attacker gets by letting a name
// of theirs point here (DNS rebinding): then Host is that name.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.knownHost(r.Host) {
			http.Error(w, fmt.Sprintf("403: the host %q is not this balancer's admin address: use an IP address, localhost or the host that is configured", r.Host), http.StatusForbidden)
			return
		}
		safe := r.Method == http.MethodGet || r.Method == http.MethodHead
		if !safe && (r.Header["Origin"] != nil || r.Header["Sec-Fetch-Site"] != nil) {
			http.Error(w, "403: requests of web pages may change nothing here", http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 1<<10) // nothing here reads one
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

func (s *Server) knownHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "" {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" ||
		host == strings.TrimSuffix(strings.ToLower(s.o.Host), ".")
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if s.o.Draining() {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "shutting down")
		return
	}
	fmt.Fprintln(w, "ok")
}

// reloadAnswer is the answer to POST /reload: Warnings with OK, else Errors.
type reloadAnswer struct {
	OK       bool     `json:"ok"`
	Warnings []string `json:"warnings,omitempty"`
	Errors   []string `json:"errors,omitempty"`
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	// Not the request's context: a reload that has begun goes on when the one
	// who asked for it goes away.
	warnings, err := s.o.Reload(context.WithoutCancel(r.Context()))
	if err != nil {
		lines := strings.Split(strings.TrimRight(err.Error(), "\n"), "\n")
		s.answer(w, http.StatusUnprocessableEntity, reloadAnswer{Errors: lines})
		return
	}
	s.answer(w, http.StatusOK, reloadAnswer{OK: true, Warnings: warnings})
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, s.o.Status())
}

func (s *Server) sessions(w http.ResponseWriter, r *http.Request) {
	limit := DefaultSessions
	if word := r.URL.Query().Get("limit"); word != "" {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > MaxSessions {
			http.Error(w, fmt.Sprintf("400: limit %q is not a number from 1 to %d", word, MaxSessions), http.StatusBadRequest)
			return
		}
		limit = n
	}
	list := s.o.Sessions(limit)
	if list == nil {
		list = []Session{}
	}
	s.answer(w, http.StatusOK, sessionsAnswer{list})
}

func (s *Server) answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ") // people read it with curl
	if err := out.Encode(value); err != nil {
		s.o.Log.Debug("admin answer not sent", "error", err.Error())
	}
}

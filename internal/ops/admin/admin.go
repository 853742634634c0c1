// Package admin is the balancer's HTTP interface for operators: health, metrics,
// status, sessions, drain and reload. internal/app creates the Server and
// provides its functions; the command line uses Client. The package doesn't know
// the balancer itself: it only translates between HTTP and Options.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// Options of a Server. All functions must be safe for concurrent use.
type Options struct {
	// Host is the host name of the configured address, "" if that has an IP
	// address. Requests may use it in their Host header.
	Host string
	// Draining reports whether the balancer is shutting down.
	Draining func() bool
	Metrics  http.Handler
	// Reload loads the configuration again. The text of its error has one line
	// for each error in the file.
	Reload func(ctx context.Context) (warnings []string, err error)
	Status func() Status
	// Drain starts a drain of a backend, named "POOL/BACKEND". timeout is a
	// duration as in the configuration file; "" means drain.timeout of the
	// pool. Undrain ends it. Clients are shown the text of their errors.
	Drain   func(backend, timeout string) (warning string, err error)
	Undrain func(backend string) error
	// Sessions lists at most limit live sessions. after is the next of the
	// previous call, "" to start; next is "" at the end. Its error says what
	// is wrong with after.
	//
	// With a claim, only sessions that show it are listed.
	Sessions func(after string, limit int, claim *Claim) (list []Session, next string, err error)
	// Close closes all sessions that show a claim, and returns how many. Clients are
	// shown the text of its error.
	Close func(claim Claim, code int, reason string) (closed int, err error)
	// Log must be given.
	Log *slog.Logger
}

// Server serves the admin address.
type Server struct {
	o    Options
	http *http.Server
}

// New returns a Server. The caller calls Serve.
func New(o Options) *Server {
	s := &Server{o: o}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // of the whole response, a reload included
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
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

// Shutdown waits for running requests until ctx is done, and then cuts the rest.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}

// routes puts everything behind guard except /health and /metrics: these have
// nothing secret, and monitoring may use any host name for them.
func (s *Server) routes() http.Handler {
	guarded := http.NewServeMux()
	guarded.HandleFunc("POST /reload", s.reload)
	guarded.HandleFunc("GET /status", s.status)
	guarded.HandleFunc("POST /drain", s.drain)
	guarded.HandleFunc("POST /undrain", s.undrain)
	guarded.HandleFunc("GET /sessions", s.sessions)
	guarded.HandleFunc("POST /sessions/close", s.close)
	all := http.NewServeMux()
	all.HandleFunc("GET /health", s.health)
	all.Handle("GET /metrics", s.o.Metrics)
	all.Handle("/", s.guard(guarded))
	return all
}

// guard rejects requests of web pages in the operator's browser.
//
// Any web page can send requests to an address that only this machine can
// reach. A change needs a POST, which browsers mark with Origin or
// Sec-Fetch-Site; command line tools send neither. To read a response, a page
// must have the same origin. An attacker gets that with a name that resolves to
// this machine (DNS rebinding); then Host is that name.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.knownHost(r.Host) {
			http.Error(w, fmt.Sprintf("403: host %q is not this balancer's admin address: use an IP address, localhost or the configured host", r.Host), http.StatusForbidden)
			return
		}
		safe := r.Method == http.MethodGet || r.Method == http.MethodHead
		if !safe && (r.Header["Origin"] != nil || r.Header["Sec-Fetch-Site"] != nil) {
			http.Error(w, "403: web pages may not change anything here", http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 1<<10) // no handler reads a body
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

// reloadResponse is the response to POST /reload: with OK it has Warnings, else
// Errors.
type reloadResponse struct {
	OK       bool     `json:"ok"`
	Warnings []string `json:"warnings,omitempty"`
	Errors   []string `json:"errors,omitempty"`
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	// A reload that has begun continues even if its client disconnects.
	warnings, err := s.o.Reload(context.WithoutCancel(r.Context()))
	if err != nil {
		lines := strings.Split(strings.TrimRight(err.Error(), "\n"), "\n")
		s.respond(w, http.StatusUnprocessableEntity, reloadResponse{Errors: lines})
		return
	}
	s.respond(w, http.StatusOK, reloadResponse{OK: true, Warnings: warnings})
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	s.respond(w, http.StatusOK, s.o.Status())
}

func (s *Server) sessions(w http.ResponseWriter, r *http.Request) {
	limit := api.DefaultSessions
	if word := r.URL.Query().Get("limit"); word != "" {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > api.MaxSessions {
			http.Error(w, fmt.Sprintf("400: limit %q is not a number from 1 to %d", word, api.MaxSessions), http.StatusBadRequest)
			return
		}
		limit = n
	}
	var claim *Claim
	if text := r.URL.Query().Get("claim"); text != "" {
		c, err := api.ParseClaim(text)
		if err != nil {
			http.Error(w, "400: "+err.Error(), http.StatusBadRequest)
			return
		}
		claim = &c
	}
	list, next, err := s.o.Sessions(r.URL.Query().Get("after"), limit, claim)
	if err != nil {
		http.Error(w, "400: "+err.Error(), http.StatusBadRequest)
		return
	}
	if list == nil {
		list = []Session{}
	}
	s.respond(w, http.StatusOK, sessionsResponse{list, next})
}

// respond writes value as JSON.
func (s *Server) respond(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ") // people read it with curl
	if err := out.Encode(value); err != nil {
		s.o.Log.Debug("admin response not sent", "error", err.Error())
	}
}

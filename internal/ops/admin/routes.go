package admin

import (
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// endpoint is a method of a path.
type endpoint struct {
	method, path string // path is a pattern of http.ServeMux
	serve        http.HandlerFunc
}

// endpoints lists what is under /v1/. openapi.yaml describes each.
func (s *Server) endpoints() []endpoint {
	const (
		pool    = "/v1/pools/{pool}"
		backend = pool + "/backends/{backend}"
	)
	return []endpoint{
		{"GET", "/v1/status", s.status},
		{"GET", "/v1/listeners", s.listeners},
		{"GET", "/v1/certificates", s.certificates},
		{"GET", "/v1/routes", s.listRoutes},
		{"GET", "/v1/pools", s.pools},
		{"GET", pool, s.pool},
		{"GET", pool + "/backends", s.backends},
		{"POST", pool + "/backends", s.addBackend},
		{"GET", backend, s.backend},
		{"PATCH", backend, s.patchBackend},
		{"DELETE", backend, s.removeBackend},
		{"POST", backend + "/drain", s.setAdmin("drain")},
		{"POST", backend + "/undrain", s.setAdmin("ready")},
		{"POST", backend + "/maint", s.setAdmin("maint")},
		{"POST", backend + "/ready", s.setAdmin("ready")},
		{"GET", "/v1/changes", s.changes},
		{"DELETE", "/v1/changes", s.revert},
		{"DELETE", "/v1/changes/{pool}", s.revert},
		{"DELETE", "/v1/changes/{pool}/{backend}", s.revert},
		{"GET", "/v1/sessions", s.sessions},
		{"GET", "/v1/sessions/{id}", s.session},
		{"POST", "/v1/sessions/close", s.closeSessions},
		{"POST", "/v1/reload", s.reload},
		{"GET", "/v1/log", s.log},
		{"PUT", "/v1/log", s.setLog},
		{"GET", "/v1/events", s.events},
		{"GET", "/v1/openapi.json", s.openAPI},
	}
}

// handler is everything. /health needs no token, since it has nothing secret, and neither do
// the dashboard's pages, which ask for one. Monitoring may use any host name for /health
// and /metrics.
func (s *Server) handler() http.Handler {
	v1 := http.NewServeMux()
	methods := map[string]map[string]http.HandlerFunc{} // by path
	for _, e := range s.endpoints() {
		if methods[e.path] == nil {
			methods[e.path] = map[string]http.HandlerFunc{}
			v1.HandleFunc(e.path, s.byMethod(e.path, methods[e.path]))
		}
		methods[e.path][e.method] = e.serve
	}
	v1.HandleFunc("/", s.nothing)
	all := http.NewServeMux()
	all.HandleFunc("/health", s.get("/health", s.health))
	all.Handle("/metrics", s.authorized(s.get("/metrics", s.o.Metrics.ServeHTTP)))
	all.Handle("/v1/", s.guard(s.authorized(v1)))
	all.Handle("/", s.guard(http.HandlerFunc(s.nothing)))
	if s.o.Pages != nil {
		all.Handle("/{$}", s.guard(s.get("/", s.o.Pages.ServeHTTP)))
		all.Handle("/assets/", s.guard(s.get("/assets/", s.o.Pages.ServeHTTP)))
	}
	return s.observed(s.clean(all))
}

func (s *Server) healthOnly() http.Handler {
	all := http.NewServeMux()
	all.HandleFunc("/health", s.get("/health", s.health))
	all.HandleFunc("/", s.nothing)
	return s.observed(s.clean(all))
}

func (s *Server) nothing(w http.ResponseWriter, r *http.Request) {
	s.fail(w, api.NotFound("", "there is nothing at %s", r.URL.Path))
}

func (s *Server) get(path string, serve http.HandlerFunc) http.HandlerFunc {
	return s.byMethod(path, map[string]http.HandlerFunc{"GET": serve})
}

// observed reports each request to Done.
func (s *Server) observed(next http.Handler) http.Handler {
	if s.o.Done == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		defer func() { s.o.Done(rec.endpoint, rec.status) }()
		next.ServeHTTP(rec, r)
	})
}

// recorder notes the status of a response.
type recorder struct {
	http.ResponseWriter
	endpoint string
	status   int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// clean refuses paths that http.ServeMux would redirect to another one.
func (s *Server) clean(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.EscapedPath()
		if clean := path.Clean(p); p != clean && p != clean+"/" || !strings.HasPrefix(p, "/") {
			s.fail(w, api.NotFound("", "the path %q has empty parts or dots", p))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// byMethod serves a path, a pattern. HEAD is as GET; net/http leaves out the body.
func (s *Server) byMethod(path string, methods map[string]http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if serve := methods[method]; serve != nil {
			if rec, ok := w.(*recorder); ok {
				rec.endpoint = method + " " + path
			}
			serve(w, r)
			return
		}
		allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		w.Header().Set("Allow", allowed)
		s.fail(w, problem(http.StatusMethodNotAllowed, "", fmt.Sprintf("%s is not for %s, but %s", r.Method, r.URL.Path, allowed)))
	}
}

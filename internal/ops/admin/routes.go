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
	}
}

// handler puts everything behind guard except /health and /metrics: these have nothing
// secret, and monitoring may use any host name for them.
func (s *Server) handler() http.Handler {
	guarded := http.NewServeMux()
	methods := map[string]map[string]http.HandlerFunc{} // by path
	for _, e := range s.endpoints() {
		if methods[e.path] == nil {
			methods[e.path] = map[string]http.HandlerFunc{}
			guarded.HandleFunc(e.path, s.byMethod(methods[e.path]))
		}
		methods[e.path][e.method] = e.serve
	}
	guarded.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, api.NotFound("", "there is nothing at %s: the API is under /v1/", r.URL.Path))
	})
	if s.o.Pages != nil {
		pages := s.byMethod(map[string]http.HandlerFunc{"GET": s.o.Pages.ServeHTTP})
		guarded.HandleFunc("/{$}", pages)
		guarded.HandleFunc("/assets/", pages)
	}
	all := http.NewServeMux()
	all.HandleFunc("/health", s.byMethod(map[string]http.HandlerFunc{"GET": s.health}))
	all.HandleFunc("/metrics", s.byMethod(map[string]http.HandlerFunc{"GET": s.o.Metrics.ServeHTTP}))
	all.Handle("/", s.guard(guarded))
	return s.clean(all)
}

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

// byMethod serves a path. HEAD is as GET; net/http leaves out the body.
func (s *Server) byMethod(methods map[string]http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if serve := methods[method]; serve != nil {
			serve(w, r)
			return
		}
		allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		w.Header().Set("Allow", allowed)
		s.fail(w, problem(http.StatusMethodNotAllowed, "", fmt.Sprintf("%s is not for %s, but %s", r.Method, r.URL.Path, allowed)))
	}
}

package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/holdfast-ws/holdfast/internal/ops/admin/openapi"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// show serves a GET without parameters.
func show[T any](s *Server, w http.ResponseWriter, r *http.Request, get func() (T, error)) {
	if _, err := query(r); err != nil {
		s.fail(w, err)
		return
	}
	value, err := get()
	s.answer(w, value, err)
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() (api.Status, error) { return s.current(), nil })
}

// current is the status with lists that are [] in JSON if they are empty.
func (s *Server) current() api.Status {
	st := s.o.Balancer.Status()
	st.Listeners, st.Pools = list(st.Listeners), slices.Clone(list(st.Pools))
	for i := range st.Pools {
		st.Pools[i].Backends = list(st.Pools[i].Backends)
	}
	return st
}

func (s *Server) openAPI(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() (json.RawMessage, error) { return openapi.JSON(), nil })
}

func (s *Server) listeners(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() ([]api.Listener, error) { return s.current().Listeners, nil })
}

func (s *Server) certificates(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() ([]api.Certificate, error) { return list(s.o.Balancer.Status().Certificates), nil })
}

func (s *Server) listRoutes(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() ([]api.Route, error) { return list(s.o.Balancer.Routes()), nil })
}

func (s *Server) pools(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() ([]api.Pool, error) { return s.current().Pools, nil })
}

func (s *Server) pool(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() (*api.Pool, error) { return s.findPool(r) })
}

func (s *Server) backends(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() ([]api.Backend, error) {
		p, err := s.findPool(r)
		if err != nil {
			return nil, err
		}
		return p.Backends, nil
	})
}

func (s *Server) backend(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() (*api.Backend, error) {
		p, err := s.findPool(r)
		if err != nil {
			return nil, err
		}
		name := r.PathValue("backend")
		var found *api.Backend
		for i := range p.Backends {
			// One that was removed may still have sessions while another has its name.
			if b := &p.Backends[i]; b.Name == name && (found == nil || found.State == "removed") {
				found = b
			}
		}
		if found == nil {
			return nil, api.NotFound("backend", "the pool %q has no backend %q", p.Name, name)
		}
		return found, nil
	})
}

func (s *Server) findPool(r *http.Request) (*api.Pool, error) {
	name := r.PathValue("pool")
	all := s.current().Pools
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil
		}
	}
	return nil, api.NotFound("pool", "there is no pool %q", name)
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

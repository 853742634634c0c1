package admin

import (
	"context"
	"net/http"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// change serves a request that may have a body, and no parameters.
func change[T any](s *Server, w http.ResponseWriter, r *http.Request, body any, needed bool, do func() (T, error)) {
	_, err := query(r)
	if err == nil {
		err = read(w, r, body, needed)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	value, err := do()
	s.answer(w, value, err)
}

func (s *Server) addBackend(w http.ResponseWriter, r *http.Request) {
	var b api.NewBackend
	change(s, w, r, &b, true, func() (api.BackendResult, error) {
		if b.Address == "" {
			return api.BackendResult{}, api.Invalid("address", "address is missing: want host:port, such as 10.0.0.1:3000")
		}
		return s.o.Balancer.AddBackend(r.PathValue("pool"), b)
	})
}

func (s *Server) patchBackend(w http.ResponseWriter, r *http.Request) {
	var p api.BackendPatch
	change(s, w, r, &p, true, func() (api.BackendResult, error) {
		switch p.Admin {
		case "", "ready", "drain", "maint":
		default:
			return api.BackendResult{}, api.Invalid("admin", "admin is %q, want ready, drain or maint", p.Admin)
		}
		if p.Timeout != "" && p.Admin != "drain" && p.Admin != "maint" {
			return api.BackendResult{}, api.Invalid("timeout", "timeout is that of a drain: it needs admin: drain or maint")
		}
		return s.o.Balancer.PatchBackend(r.PathValue("pool"), r.PathValue("backend"), p)
	})
}

// setAdmin is the short form of a patch.
func (s *Server) setAdmin(admin string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := api.BackendPatch{Admin: admin}
		do := func() (api.BackendResult, error) {
			return s.o.Balancer.PatchBackend(r.PathValue("pool"), r.PathValue("backend"), p)
		}
		if admin == "ready" {
			change(s, w, r, &struct{}{}, false, do)
			return
		}
		var body api.Timeout
		change(s, w, r, &body, false, func() (api.BackendResult, error) {
			p.Timeout = body.Timeout
			return do()
		})
	}
}

func (s *Server) removeBackend(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, "timeout")
	if err != nil {
		s.fail(w, err)
		return
	}
	result, err := s.o.Balancer.RemoveBackend(r.PathValue("pool"), r.PathValue("backend"), q.Get("timeout"))
	s.answer(w, result, err)
}

func (s *Server) changes(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() ([]api.Change, error) { return list(s.o.Balancer.Changes()), nil })
}

func (s *Server) revert(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() ([]api.Change, error) {
		undone, err := s.o.Balancer.Revert(r.PathValue("pool"), r.PathValue("backend"))
		return list(undone), err
	})
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	change(s, w, r, &struct{}{}, false, func() (api.ReloadResult, error) {
		// A reload that has begun continues even if its client disconnects.
		return s.o.Balancer.Reload(context.WithoutCancel(r.Context()))
	})
}

func (s *Server) log(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() (api.Log, error) { return s.o.Balancer.Log(), nil })
}

func (s *Server) setLog(w http.ResponseWriter, r *http.Request) {
	var body api.Log
	change(s, w, r, &body, true, func() (api.Log, error) {
		switch body.Level {
		case "debug", "info", "warn", "error":
			return s.o.Balancer.SetLog(body.Level)
		}
		return api.Log{}, api.Invalid("level", "level is %q, want debug, info, warn or error", body.Level)
	})
}

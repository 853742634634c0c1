package admin

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// respond writes value as JSON.
func (s *Server) respond(w http.ResponseWriter, status int, value any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ") // people read it with curl
	if err := out.Encode(value); err != nil {
		s.o.Log.Debug("admin response not sent", "error", err.Error())
	}
}

// answer writes value, or the problem that err is.
func (s *Server) answer(w http.ResponseWriter, value any, err error) {
	if err != nil {
		s.fail(w, err)
		return
	}
	s.respond(w, http.StatusOK, value)
}

// fail answers with a problem (RFC 9457).
func (s *Server) fail(w http.ResponseWriter, err error) {
	p, ok := errors.AsType[*api.Problem](err)
	if !ok {
		p = problem(http.StatusInternalServerError, "", err.Error())
	}
	w.Header().Set("Content-Type", "application/problem+json")
	s.respond(w, p.Status, p)
}

func problem(status int, field, detail string) *api.Problem {
	return &api.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Field: field}
}

// list returns a list that is [] in JSON if it is empty.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

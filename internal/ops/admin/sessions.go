package admin

import (
	"net/http"
	"reflect"
	"strconv"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

func (s *Server) sessions(w http.ResponseWriter, r *http.Request) {
	query, err := sessionQuery(r)
	if err != nil {
		s.fail(w, err)
		return
	}
	page, err := s.o.Balancer.Sessions(r.Context(), query)
	page.Sessions = list(page.Sessions)
	s.answer(w, page, err)
}

// sessionQuery reads the parameters: those of the filter have the names of its fields.
func sessionQuery(r *http.Request) (q api.SessionQuery, err error) {
	fields := map[string]reflect.Value{}
	fieldsOf(reflect.ValueOf(&q.SessionFilter).Elem(), fields)
	names := []string{"after", "limit"}
	for name := range fields {
		names = append(names, name)
	}
	values, err := query(r, names...)
	if err != nil {
		return q, err
	}
	for name, field := range fields {
		field.SetString(values.Get(name))
	}
	q.After, q.Limit = values.Get("after"), api.DefaultSessions
	if word := values.Get("limit"); word != "" {
		if q.Limit, err = strconv.Atoi(word); err != nil || q.Limit < 1 || q.Limit > api.MaxSessions {
			return q, api.Invalid("limit", "limit %q is not a number from 1 to %d", word, api.MaxSessions)
		}
	}
	return q, nil
}

func (s *Server) session(w http.ResponseWriter, r *http.Request) {
	show(s, w, r, func() (api.Session, error) { return s.o.Balancer.Session(r.PathValue("id")) })
}

func (s *Server) closeSessions(w http.ResponseWriter, r *http.Request) {
	var body api.CloseRequest
	change(s, w, r, &body, true, func() (api.CloseResult, error) {
		if body.SessionFilter == (api.SessionFilter{}) && !body.All {
			return api.CloseResult{}, api.Invalid("all", "this would close all sessions: say which, or set all")
		}
		return s.o.Balancer.CloseSessions(r.Context(), body)
	})
}

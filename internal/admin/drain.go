package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// doneAnswer is the answer to POST /drain and /undrain.
type doneAnswer struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	timeout := time.Duration(-1)
	if word := r.URL.Query().Get("timeout"); word != "" {
		var err error
		if timeout, err = time.ParseDuration(word); err != nil || timeout < 0 {
			s.answer(w, http.StatusUnprocessableEntity, doneAnswer{Error: fmt.Sprintf("timeout %q is no duration such as 300s", word)})
			return
		}
	}
	s.done(w, s.o.Drain(r.URL.Query().Get("backend"), timeout))
}

func (s *Server) undrain(w http.ResponseWriter, r *http.Request) {
	s.done(w, s.o.Undrain(r.URL.Query().Get("backend")))
}

func (s *Server) done(w http.ResponseWriter, err error) {
	if err != nil {
		s.answer(w, http.StatusUnprocessableEntity, doneAnswer{Error: err.Error()})
		return
	}
	s.answer(w, http.StatusOK, doneAnswer{OK: true})
}

// Drain has a backend, "POOL/BACKEND", emptied within timeout; below 0 is what
// its pool says. It returns at once.
func (c Client) Drain(ctx context.Context, backend string, timeout time.Duration) error {
	query := url.Values{"backend": {backend}}
	if timeout >= 0 {
		query.Set("timeout", timeout.String())
	}
	return c.order(ctx, "/drain?"+query.Encode())
}

// Undrain has a backend take sessions again.
func (c Client) Undrain(ctx context.Context, backend string) error {
	return c.order(ctx, "/undrain?"+url.Values{"backend": {backend}}.Encode())
}

func (c Client) order(ctx context.Context, path string) error {
	var answer doneAnswer
	if err := c.ask(ctx, http.MethodPost, path, &answer); err != nil {
		return err
	}
	if !answer.OK {
		return errors.New(answer.Error)
	}
	return nil
}

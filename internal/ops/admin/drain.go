package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
)

// drainResponse is the response to POST /drain and /undrain.
type drainResponse struct {
	OK      bool   `json:"ok"`
	Warning string `json:"warning,omitempty"` // only with OK
	Error   string `json:"error,omitempty"`
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	warning, err := s.o.Drain(query.Get("backend"), query.Get("timeout"))
	s.respondDrain(w, warning, err)
}

func (s *Server) undrain(w http.ResponseWriter, r *http.Request) {
	s.respondDrain(w, "", s.o.Undrain(r.URL.Query().Get("backend")))
}

func (s *Server) respondDrain(w http.ResponseWriter, warning string, err error) {
	if err != nil {
		s.respond(w, http.StatusUnprocessableEntity, drainResponse{Error: err.Error()})
		return
	}
	s.respond(w, http.StatusOK, drainResponse{OK: true, Warning: warning})
}

// Drain starts a drain of a backend, named "POOL/BACKEND", and returns at once.
// timeout is a duration as in the configuration file; "" means drain.timeout of
// the pool. The warning is "" if there is none.
func (c Client) Drain(ctx context.Context, backend, timeout string) (warning string, err error) {
	query := url.Values{"backend": {backend}}
	if timeout != "" {
		query.Set("timeout", timeout)
	}
	return c.postDrain(ctx, "/drain?"+query.Encode())
}

// Undrain ends a drain: the backend gets new sessions again.
func (c Client) Undrain(ctx context.Context, backend string) error {
	_, err := c.postDrain(ctx, "/undrain?"+url.Values{"backend": {backend}}.Encode())
	return err
}

func (c Client) postDrain(ctx context.Context, path string) (warning string, err error) {
	var response drainResponse
	if err := c.do(ctx, http.MethodPost, path, &response); err != nil {
		return "", err
	}
	if !response.OK {
		return "", errors.New(response.Error)
	}
	return response.Warning, nil
}

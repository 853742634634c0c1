package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// closeResponse is the response to POST /sessions/close.
type closeResponse struct {
	OK     bool   `json:"ok"`
	Closed int    `json:"closed"`
	Error  string `json:"error,omitempty"`
}

func (s *Server) close(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	claim, err := api.ParseClaim(query.Get("claim"))
	code := api.DefaultCloseCode
	if text := query.Get("code"); err == nil && text != "" {
		if code, err = strconv.Atoi(text); err != nil {
			err = fmt.Errorf("code %q is not a number", text)
		}
	}
	closed := 0
	if err == nil {
		closed, err = s.o.Close(claim, code, query.Get("reason"))
	}
	if err != nil {
		s.respond(w, http.StatusUnprocessableEntity, closeResponse{Error: err.Error()})
		return
	}
	s.respond(w, http.StatusOK, closeResponse{OK: true, Closed: closed})
}

// Close begins to close all sessions that show a claim, with a code and a reason, and
// returns how many. Code 0 means api.DefaultCloseCode.
func (c Client) Close(ctx context.Context, claim Claim, code int, reason string) (closed int, err error) {
	query := url.Values{"claim": {claim.String()}}
	if code != 0 {
		query.Set("code", strconv.Itoa(code))
	}
	if reason != "" {
		query.Set("reason", reason)
	}
	var response closeResponse
	if err := c.do(ctx, http.MethodPost, "/sessions/close?"+query.Encode(), &response); err != nil {
		return 0, err
	}
	if !response.OK {
		return 0, errors.New(response.Error)
	}
	return response.Closed, nil
}

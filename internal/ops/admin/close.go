package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Claim is a claim of clients' tokens, and its value.
type Claim struct{ Name, Value string }

// ParseClaim reads NAME=VALUE, such as sub=alice.
func ParseClaim(s string) (c Claim, err error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return c, fmt.Errorf("claim %q is not NAME=VALUE, such as sub=alice", s)
	}
	return Claim{name, value}, nil
}

func (c Claim) String() string { return c.Name + "=" + c.Value }

// DefaultCloseCode is the code of Close frames if none is given: policy violation (RFC
// 6455 section 7.4.1).
const DefaultCloseCode = 1008

// closeResponse is the response to POST /sessions/close.
type closeResponse struct {
	OK     bool   `json:"ok"`
	Closed int    `json:"closed"`
	Error  string `json:"error,omitempty"`
}

func (s *Server) close(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	claim, err := ParseClaim(query.Get("claim"))
	code := DefaultCloseCode
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
// returns how many. Code 0 means DefaultCloseCode.
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

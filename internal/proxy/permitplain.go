package proxy

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/session/claims"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
)

// authenticate is clientHandshake.authenticate for a request of plain HTTP.
func (s *plainRequest) authenticate() error {
	if s.err != nil {
		return nil // choosing a backend fails for the same reason
	}
	policy := s.gen.AuthOf(s.rule, &s.meta)
	if policy == s.auth {
		return nil // also nil, for everyone
	}
	if s.auth != nil {
		// A reload has changed the route since.
		s.target, s.r.Header, s.r.URL = s.asked.target, s.asked.header, s.asked.url
		if s.auth, s.grant = nil, nil; policy == nil {
			return nil
		}
	}
	parts := s.parts()
	asked := auth.Asked{Request: parts, Method: s.r.Method, Client: parts.ClientIP().String(), URL: s.meta.Scheme() + "://" + s.r.Host + s.target}
	grant, err := policy.Permit(&asked, func(start func(done func())) error { return awaitPlain(s.r.Context(), s.gen.Handshake, start) })
	if err != nil {
		if failure.Of(err).Refusal == nil {
			return &httpproxy.Error{Status: http.StatusServiceUnavailable, Text: "the client has gone"}
		}
		refused := plainRefusal(err)
		refused.Pool = s.rule.Pool
		return refused
	}
	s.auth, s.grant, s.asked = policy, grant, askedFor{s.target, s.r.Header, s.r.URL}
	if grant.Edits() {
		s.target = grant.EditPlain(s.r, s.target)
	}
	return nil
}

// claims are those of the client's token, if the route has verified one.
func (s *plainRequest) claims() claims.Claims {
	if s.grant == nil {
		return ""
	}
	return s.grant.Claims
}

// awaitPlain is an auth.Waiter.
func awaitPlain(ctx context.Context, timeout time.Duration, start func(done func())) error {
	done := make(chan struct{})
	start(func() { close(done) })
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

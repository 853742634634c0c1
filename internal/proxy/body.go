package proxy

import (
	"io"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/httpproxy"
)

// limitBody refuses a request for a backend whose body is longer than its route allows. If the length
// isn't known beforehand, the body ends with that error where it is too much.
func (s *plainRequest) limitBody() error {
	if s.err != nil {
		return nil // choosing a backend fails for the same reason
	}
	policy := s.gen.PolicyOf(s.rule)
	most := policy.MaxBody
	if most == 0 || policy.Answer != nil || s.r.ContentLength >= 0 && s.r.ContentLength <= most {
		return nil
	}
	refused := plainRefusal(failure.New(failure.BodyTooLarge, "max_body is exceeded"))
	refused.Pool = s.rule.Pool
	if s.r.ContentLength > most {
		return refused
	}
	if b, bounded := s.r.Body.(*boundedBody); bounded { // by the route before a reload
		s.r.Body = b.ReadCloser
	}
	s.r.Body = &boundedBody{s.r.Body, most, refused}
	return nil
}

// boundedBody is a body with a most length.
type boundedBody struct {
	io.ReadCloser
	left    int64
	refused *httpproxy.Error
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, b.refused
	}
	return n, err
}

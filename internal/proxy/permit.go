package proxy

import (
	"net/http"
	"time"

	"github.com/holdfast-ws/holdfast/internal/proxy/timing"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
)

// permit asks the policy of the route whether the client may have what it asks for. It is
// called again for a handshake that has waited in a queue, and when a reload has replaced
// the routes since. What is counted and found out already isn't again, unless the route
// asks something else now.
func (h *clientHandshake) permit() error {
	if err := h.admit(); err != nil { // access
		return err
	}
	if err := h.limitAddress(); err != nil { // limit
		return err
	}
	if err := h.authenticate(); err != nil { // auth
		return err
	}
	if err := h.limitClaim(); err != nil { // limit
		return err
	}
	if err := h.choosePart(); err != nil { // of a route with several pools
		return err
	}
	return h.answerByRoute()
}

// permitPlain is permit for a request of plain HTTP that preparePlain has returned. It is
// called before a backend is chosen, and again if a reload has changed the routes since.
// The error is an *httpproxy.Error, which may also be the route's answer.
func (p *Proxy) permitPlain(r *http.Request) error {
	s := plainOf(r)
	if err := admitPlain(s); err != nil { // access
		return err
	}
	if err := s.limitAddress(p.Limiter); err != nil { // limit
		return err
	}
	if err := s.limitBody(); err != nil { // limit
		return err
	}
	if err := s.authenticate(); err != nil { // auth
		return err
	}
	if err := s.choosePart(s.rule); err != nil { // of a route with several pools
		return err
	}
	return s.answerByRoute()
}

// authenticate finds out who the client is, if the route asks that: by its token, by an
// endpoint, or both.
func (h *clientHandshake) authenticate() error {
	policy := h.gen.AuthOf(h.rule, &h.req.Meta)
	if policy == h.auth {
		return nil // also nil, for everyone
	}
	if h.auth != nil {
		// A reload has changed the route since.
		if err := h.req.DropGrant(); err != nil {
			return err
		}
		if h.auth = nil; policy == nil {
			return nil
		}
	}
	if w := h.waited; w != nil && w.auth == policy && w.grant != nil {
		h.auth = policy // it was asked before
		h.req.SetGrant(w.grant)
		return nil
	}
	asked := auth.Asked{Request: &h.req, Method: string(h.req.Head.Method), Client: h.req.ClientIP().String(),
		URL: h.req.Meta.Scheme() + "://" + string(h.req.Head.Host) + string(h.req.Head.Path) + string(h.req.Head.Query)}
	h.trace.Begin(timing.Auth)
	grant, err := policy.Permit(&asked, h.await)
	h.trace.End(err)
	if err != nil {
		return err
	}
	h.auth = policy
	h.req.SetGrant(grant)
	return nil
}

// await is an auth.Waiter. Meanwhile goroutines work for the client.
func (h *clientHandshake) await(start func(done func())) error {
	h.p.HTTPBegins()
	defer h.p.HTTPEnds()
	h.conn.SetDeadline(time.Now().Add(h.gen.Handshake))
	return transport.Await(h.conn, start)
}

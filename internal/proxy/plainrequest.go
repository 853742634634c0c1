package proxy

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/proxy/attempt"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
	"github.com/holdfast-ws/holdfast/internal/stage/handshake"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/requestid"
)

// plainRequest is what is known about a request of plain HTTP: what a
// clientHandshake is for a WebSocket. It is in the request's context.
type plainRequest struct {
	r    *http.Request
	meta transport.Meta
	id   session.ID // that ids are made from
	ids  requestid.IDs

	gen     *generation.Generation
	rule    *route.Rule // nil if no route matches; err says why
	whole   *route.Rule // the route of which rule may be a part; nil before that is chosen
	err     error
	forward *generation.Forward // of rule
	target  string              // as the client sent it, in origin-form
	path    string              // instead of that in target; "" is that
	// passedOver means that a backend has answered, and another one is looked for.
	passedOver bool
	prefix     string        // was cut off
	facts      attempt.Facts // for the edits of forward

	hold  limit.Hold
	auth  *auth.Policy // that grant is of; nil without one
	grant *auth.Grant
	asked askedFor // what grant has changed
}

// askedFor is what a client has sent.
type askedFor struct {
	target string
	header http.Header
	url    *url.URL
}

type plainKey struct{}

// preparePlain is httpproxy.Options.Prepare.
func (p *Proxy) preparePlain(r *http.Request) *http.Request {
	s := &plainRequest{meta: httpproxy.MetaOf(r), target: httpproxy.OriginForm(r)}
	s.r = r.WithContext(context.WithValue(r.Context(), plainKey{}, s))
	g := p.generation.Load()
	if g.IDs != (requestid.Policy{}) {
		s.id = session.NewID()
		s.ids.SetFrom(g.IDs, r.Header, g.Forwarded.TrustsPeer(s.meta.Peer), s.id, []byte(s.id.String()))
	}
	s.chooseRoute(g)
	return s.r
}

// finishPlain is httpproxy.Options.Finish.
func (p *Proxy) finishPlain(r *http.Request) { plainOf(r).hold.Release() }

// plainOf is what is known about r, which preparePlain has returned.
func plainOf(r *http.Request) *plainRequest { return r.Context().Value(plainKey{}).(*plainRequest) }

// chooseRoute goes by g from now on. The target is matched unchanged, since routes must
// match what the backend will get.
func (s *plainRequest) chooseRoute(g *generation.Generation) {
	s.gen, s.whole = g, nil
	if s.rule, s.err = nil, directed(g, &s.meta, []byte(s.r.Host)); s.err == nil {
		s.rule, s.err = g.Routes.Match(s.r.Host, s.target, false, s.parts())
	}
	if s.err == nil {
		s.follow()
	} else {
		s.forward, s.path, s.prefix = nil, "", ""
	}
}

// follow makes what the route changes apply to the request.
func (s *plainRequest) follow() {
	g, policy := s.gen, s.gen.PolicyOf(s.rule)
	s.forward, s.path, s.prefix = policy.Forward, "", ""
	if s.forward == nil && policy.Answer == nil {
		return
	}
	if s.forward != nil && !s.rewrite() {
		s.err = route.ErrBadPath
		return
	}
	label := s.rule.Label
	if s.forward != nil {
		label = s.forward.Label
	}
	s.facts = attempt.Facts{
		Meta: &s.meta, Client: g.Forwarded.ClientAddrOf(s.r.Header, s.meta.Peer), Host: []byte(s.r.Host),
		Forwarded: g.Forwarded, RequestID: s.ids.Request(), Route: label, Pool: s.rule.Pool,
	}
}

// rewrite makes the path that a backend gets. It reports false if servers could disagree
// about it.
func (s *plainRequest) rewrite() bool {
	f := s.forward
	if f.Path == nil && f.PathTemplate == nil {
		return true
	}
	text, _, _ := strings.Cut(s.target, "?")
	path := []byte(text)
	if f.PathTemplate != nil {
		result, ok := f.PathTemplate.Apply(nil, f.PathRegex, path)
		s.path = string(result)
		return ok
	}
	result, replaced, ok := f.Path.Apply(nil, path)
	if replaced {
		s.path, s.prefix = string(result), f.Path.Prefix()
	}
	return ok
}

// parts are the parts of the request that a backend may be chosen by.
func (s *plainRequest) parts() generation.PlainRequest {
	return generation.PlainRequest{Request: s.r, Forwarded: s.gen.Forwarded, Target: s.target, Meta: s.meta, Claims: s.claims()}
}

// source is what variables stand for.
func (s *plainRequest) source() *attempt.Facts {
	s.facts.Asked = plainAsked{s.parts()}
	return &s.facts
}

// refused is the error if the request can't be routed.
func (s *plainRequest) refused() error {
	if s.err == nil {
		return nil
	}
	return plainRefusal(s.err)
}

func (s *plainRequest) hop() forwarded.Hop {
	hop := attempt.HopOf(s.meta, []byte(s.r.Host))
	hop.Prefix, hop.Edits = s.prefix, s.forward.RequestEdits()
	return hop
}

// plainAsked is an attempt.Asked.
type plainAsked struct{ generation.PlainRequest }

func (a plainAsked) URI() []byte { return []byte(a.Target) }

func (a plainAsked) IsSecure(f *forwarded.Policy) bool {
	return f.IsHTTPSOf(a.Request.Header, attempt.HopOf(httpproxy.MetaOf(a.Request), nil))
}

// targetOf is httpproxy.Options.Target.
func targetOf(in *http.Request) (host, target string) {
	s := plainOf(in)
	host, target = in.Host, s.target
	if other := s.forward.HostFor([]byte(in.Host)); len(other) > 0 {
		host = string(other)
	}
	if s.path != "" {
		_, query, found := strings.Cut(target, "?")
		if target = s.path; found {
			target += "?" + query
		}
	}
	return host, target
}

// editRequest is httpproxy.Options.EditRequest.
func editRequest(out http.Header, in *http.Request) {
	s := plainOf(in)
	g := s.gen
	g.Forwarded.SetHeaders(out, in.Header, s.hop())
	g.ClientCert.Each(s.meta.ListenerName(), s.meta.ClientCertificate(), out.Set)
	if s.grant != nil {
		for _, field := range s.grant.Fields {
			out.Set(field[0], field[1])
		}
	}
	s.ids.Edit(out)
	s.forward.RequestEdits().Edit(out, s.source())
}

// editAnswer is httpproxy.Options.EditAnswer. Of an answer of the balancer's own, it
// leaves the fields alone that it has already.
func editAnswer(header http.Header, in *http.Request, own bool) {
	s := plainOf(in)
	s.ids.EditAnswer(header)
	edits := s.forward.AnswerEdits()
	if !own {
		s.learn(header)
		edits.Edit(header, s.source())
		return
	}
	has := header.Clone()
	edits.Each(s.source(), func(name, value string) {
		if has.Get(name) == "" {
			header.Add(name, value)
		}
	})
}

// learn notes which keys an answer has that belong to the backend it is from.
func (s *plainRequest) learn(header http.Header) {
	if l := s.gen.Pools[s.rule.Pool].Learned; l != nil {
		l.LearnAnswer(s.facts.Backend, func(name string, i int) ([]byte, bool) {
			values := header[http.CanonicalHeaderKey(name)]
			if i >= len(values) {
				return nil, false
			}
			return []byte(values[i]), true
		})
	}
}

// isReserved is httpproxy.Options.IsReserved.
func isReserved(in *http.Request, name string) bool {
	s, b := plainOf(in), []byte(name)
	return handshake.IsReserved(b) || forwarded.IsReserved(b) || s.gen.IsReserved(b) || s.ids.Replaces(b) ||
		s.forward.RequestEdits().Drops(b)
}

// plainAbout is httpproxy.Options.About.
func plainAbout(in *http.Request) []any { return idsForLog(&plainOf(in).ids) }

// plainTimeouts is httpproxy.Options.Timeouts.
func plainTimeouts(in *http.Request) httpproxy.Timeouts {
	s := plainOf(in)
	return s.gen.PlainTimeouts(s.forward)
}

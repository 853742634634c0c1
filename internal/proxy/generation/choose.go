package generation

import (
	"crypto/x509"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/session/claims"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/wire/affinity"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// The results of affinity: the label of holdfast_affinity_total.
const (
	AffinityNew      = "new"      // the client had no mark
	AffinityKept     = "kept"     // it is with its backend again
	AffinityMoved    = "moved"    // its backend can't take it: another was chosen
	AffinityRefused  = "refused"  // likewise, and it is refused; or the queue for that backend was full or too long
	AffinityGone     = "gone"     // its backend is no member any more
	AffinityTampered = "tampered" // the mark isn't ours
)

// AffinityResults lists them.
func AffinityResults() []string {
	return []string{AffinityNew, AffinityKept, AffinityMoved, AffinityRefused, AffinityGone, AffinityTampered}
}

// ErrAffinity means that the backend which the client belongs to can't take it,
// and the pool refuses to choose another one.
var ErrAffinity = failure.New(failure.AffinityRefused, "the backend that the client belongs to is not available")

// take is Take for a request that isn't for a session, without rate limits.
func (p *Pool) take(r requestkey.Request, tried balance.Tried) (c balance.Choice, marked int, result string, err error) {
	return p.Take(nil, r, balance.Query{Tried: tried})
}

// TakePlain is Take for a plain HTTP request, without rate limits. own are the
// backends at which the client has logged in by its connection. The others don't
// know of that login, so one of own is taken if possible.
func (p *Pool) TakePlain(r PlainRequest, tried balance.Tried, own []uint32) (c balance.Choice, marked int, result string, err error) {
	c, ok := p.takeOwn(tried, own)
	if ok {
		marked = c.Index // its cookie stays unchanged
	} else if c, marked, result, err = p.take(r, tried); err != nil {
		return c, marked, result, err
	}
	c.Backend.BeginRequest()
	return c, marked, result, nil
}

func (p *Pool) takeOwn(tried balance.Tried, own []uint32) (balance.Choice, bool) {
	if len(own) == 0 {
		return balance.Choice{}, false
	}
	for i, m := range p.Picker.Members() {
		if !slices.Contains(own, m.Backend.ID) || tried.Has(i) {
			continue
		}
		if c, ok := p.Picker.TakeMember(i); ok {
			return c, true
		}
		if c, ok := p.takeKept(i); ok {
			return c, true
		}
	}
	return balance.Choice{}, false
}

// Take chooses a backend for r and takes its lease. It doesn't block. Of q it
// reads Tried, Session and Lost; limits may be nil.
//
// marked is the member that the client's cookie names, or -1. result is one of
// AffinityResults, or "" in a pool without affinity. If the error is
// balance.ErrRateLimited there is no lease, and the choice has the Backend whose
// token r must wait for; nil means that any backend will do.
func (p *Pool) Take(limits balance.RateLimits, r requestkey.Request, q balance.Query) (c balance.Choice, marked int, result string, err error) {
	switch {
	case p.Cookie != nil:
		return p.takeByCookie(limits, r, q)
	case p.Token != nil:
		c, result, err = p.takeByToken(limits, r, q)
		return c, -1, result, err
	case p.Learned != nil:
		c, result, err = p.takeLearned(limits, r, q)
		return c, -1, result, err
	}
	c, err = p.takeAny(limits, r, q)
	return c, -1, "", err
}

func (p *Pool) takeAny(limits balance.RateLimits, r requestkey.Request, q balance.Query) (balance.Choice, error) {
	if p.Key != nil {
		q.Key, q.Keyed = requestkey.Hash(p.Key, r)
	}
	if q.Keyed {
		return takeKeyed(limits, p.Picker, &q)
	}
	q.RateLimits = limits
	return p.Picker.Take(&q)
}

// TakeBelowFairShare takes a backend that has fewer sessions than its fair share,
// for a session of one that has more. It chooses by the key of r, or the least
// loaded if r has none. The error may be balance.ErrBalanced.
func (p *Pool) TakeBelowFairShare(r requestkey.Request, tried balance.Tried) (c balance.Choice, err error) {
	q, from := balance.Query{Tried: tried}, p.Picker
	switch {
	case p.Key != nil:
		q.Key, q.Keyed = requestkey.Hash(p.Key, r)
	case p.Token != nil:
		if q.Key, q.Keyed = requestkey.First(p.Token, r); q.Keyed {
			from = p.Tokens
		}
	}
	if c, err = from.TakeBelowFairShare(&q); err == nil && p.Learned != nil {
		p.Learned.moved(r, c.Index)
	}
	return c, err
}

// takeKeyed takes the backend that a key belongs to. It takes no other one for
// lack of a token, so that keys keep their backends in a storm of handshakes.
func takeKeyed(limits balance.RateLimits, from balance.Picker, q *balance.Query) (balance.Choice, error) {
	c, err := from.Take(q)
	if err != nil {
		return c, err
	}
	return takeToken(limits, c)
}

// takeToken takes a token for a choice. If there is none, it releases the lease.
func takeToken(limits balance.RateLimits, c balance.Choice) (balance.Choice, error) {
	if limits == nil || limits.TryTake(c.Index) {
		return c, nil
	}
	c.Backend.Release()
	return balance.Choice{Backend: c.Backend}, balance.ErrRateLimited
}

func (p *Pool) takeByCookie(limits balance.RateLimits, r requestkey.Request, q balance.Query) (c balance.Choice, marked int, result string, err error) {
	marked, verdict := p.Cookie.Read(r)
	switch verdict {
	case affinity.Member:
		if !q.Tried.Has(marked) {
			if c, ok := p.Picker.TakeMember(marked); ok {
				c, err = takeToken(limits, c)
				return c, marked, AffinityKept, err
			}
			if c, ok := p.takeDraining(marked, r); ok {
				c, err = takeToken(limits, c)
				return c, marked, AffinityKept, err
			}
		}
		if p.Refuse {
			return c, marked, AffinityRefused, ErrAffinity
		}
		result = AffinityMoved
	case affinity.Gone:
		marked, result = -1, AffinityGone
	case affinity.Tampered:
		marked, result = -1, AffinityTampered
	default:
		marked, result = -1, AffinityNew
	}
	c, err = p.takeAny(limits, r, q)
	return c, marked, result, err
}

func (p *Pool) takeByToken(limits balance.RateLimits, r requestkey.Request, q balance.Query) (c balance.Choice, result string, err error) {
	key, ok := requestkey.First(p.Token, r)
	if !ok {
		c, err = p.takeAny(limits, r, q)
		return c, AffinityNew, err
	}
	home := p.Tokens.Owner(key)
	if home >= 0 && !q.Tried.Has(home) {
		if c, ok := p.Tokens.TakeMember(home); ok {
			c, err = takeToken(limits, c)
			return c, AffinityKept, err
		}
	}
	if p.Refuse {
		return c, AffinityRefused, ErrAffinity
	}
	q.Key, q.Keyed = key, true
	c, err = takeKeyed(limits, p.Tokens, &q)
	return c, AffinityMoved, err
}

// PlainRequest is a requestkey.Request and a route.Request of net/http.
type PlainRequest struct {
	*http.Request
	Forwarded *forwarded.Policy
	Target    string // in origin-form, unchanged
	Meta      transport.Meta
	Claims    claims.Claims // of the client's token, if its route has verified one
}

func (r PlainRequest) ClientIP() netip.Addr {
	return r.Forwarded.ClientAddrOf(r.Request.Header, r.Meta.Peer).Addr()
}
func (r PlainRequest) Path() []byte {
	path, _, _ := strings.Cut(r.Target, "?")
	return []byte(path)
}
func (r PlainRequest) ListenerName() string             { return r.Meta.ListenerName() }
func (r PlainRequest) HasMethod(method string) bool     { return r.Method == method }
func (r PlainRequest) Certificate() *x509.Certificate   { return r.Meta.ClientCertificate() }
func (r PlainRequest) Query() []byte                    { return []byte(r.URL.RawQuery) }
func (r PlainRequest) Claim(name string) (string, bool) { return r.Claims.Get(name) }
func (r PlainRequest) Header(name string, i int) ([]byte, bool) {
	if name == "host" {
		return []byte(r.Host), i == 0
	}
	values := r.Request.Header[http.CanonicalHeaderKey(name)]
	if i >= len(values) {
		return nil, false
	}
	return []byte(values[i]), true
}

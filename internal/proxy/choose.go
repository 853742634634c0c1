package proxy

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/affinity"
	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/forwarded"
	"github.com/holdfast-ws/holdfast/internal/requestkey"
)

// Pool is how the backend of a pool is chosen for a request.
type Pool struct {
	Picker balance.Picker
	// Key is what balance: hash goes by; nil where it is another.
	Key []requestkey.Part

	// Affinity: at most one of the following two.
	Cookie *affinity.Table // by its picker's members
	Token  []requestkey.Part
	// Tokens chooses for tokens, over the same members: where the backend a
	// token belongs to can't take it, the next in an order that every
	// balancer with the same file agrees on.
	Tokens balance.Picker
	// Refuse has a request refused rather than sent elsewhere than to its own
	// backend.
	Refuse bool

	// Reattach says when its sessions are given other backends; nil is never.
	Reattach *Reattach

	throttle // see SetAdmit
}

// What became of a client's mark in a pool with affinity: the label of
// holdfast_affinity_total.
const (
	affinityNew      = "new"      // it had none
	affinityKept     = "kept"     // it is with its backend again
	affinityMoved    = "moved"    // its backend can't take it: another was chosen
	affinityRefused  = "refused"  // likewise, and no other was wanted
	affinityGone     = "gone"     // its backend is no member any more
	affinityTampered = "tampered" // the mark isn't ours
)

// AffinityResults lists every result Watcher.AffinityDone is called with.
func AffinityResults() []string {
	return []string{affinityNew, affinityKept, affinityMoved, affinityRefused, affinityGone, affinityTampered}
}

// errSticky: the backend that the client belongs to can't take it.
var errSticky = errors.New("the backend that the client belongs to is not available")

// take chooses a backend for r and takes its lease. marked is the member that
// the client's cookie names, or -1; result is one of AffinityResults, or "" in
// a pool without. It doesn't block.
func (p *Pool) take(r requestkey.Request, tried balance.Tried) (c balance.Choice, marked int, result string, err error) {
	return p.takeAt(nil, r, balance.Query{Tried: tried})
}

// takeAt is take within rates; nil is without. Of q, Tried and Own are looked
// at. With balance.ErrHeld there is no lease, and the choice has the Backend
// whose token is to be waited for: nil where any will do.
func (p *Pool) takeAt(rates balance.Rates, r requestkey.Request, q balance.Query) (c balance.Choice, marked int, result string, err error) {
	switch {
	case p.Cookie != nil:
		return p.takeByCookie(rates, r, q)
	case p.Token != nil:
		c, result, err = p.takeByToken(rates, r, q)
		return c, -1, result, err
	}
	c, err = p.takeAny(rates, r, q)
	return c, -1, "", err
}

func (p *Pool) takeAny(rates balance.Rates, r requestkey.Request, q balance.Query) (balance.Choice, error) {
	_, q.Session = r.(*attemptRequest)
	if p.Key != nil {
		q.Key, q.Keyed = requestkey.Hash(p.Key, r)
	}
	if q.Keyed {
		return pass(rates, p.Picker, &q)
	}
	q.Rates = rates
	return p.Picker.Take(&q)
}

// takeBelow takes a backend that has fewer sessions than its fair share, for a
// session that one with more gives away: by its key where it has one, else the
// least loaded. The error may be balance.ErrEven.
func (p *Pool) takeBelow(r requestkey.Request, tried balance.Tried) (balance.Choice, error) {
	q, from := balance.Query{Tried: tried}, p.Picker
	switch {
	case p.Key != nil:
		q.Key, q.Keyed = requestkey.Hash(p.Key, r)
	case p.Token != nil:
		if q.Key, q.Keyed = requestkey.First(p.Token, r); q.Keyed {
			from = p.Tokens
		}
	}
	return from.TakeBelow(&q)
}

// pass takes the backend that a key belongs to, and no other for want of a
// token: keys stay where they are in a storm, too.
func pass(rates balance.Rates, from balance.Picker, q *balance.Query) (balance.Choice, error) {
	c, err := from.Take(q)
	if err != nil {
		return c, err
	}
	return passed(rates, c)
}

// passed takes the token of a choice. Where it has none, its lease is given
// back.
func passed(rates balance.Rates, c balance.Choice) (balance.Choice, error) {
	if rates == nil || rates.TryPass(c.Index) {
		return c, nil
	}
	c.Backend.Release()
	return balance.Choice{Backend: c.Backend}, balance.ErrHeld
}

func (p *Pool) takeByCookie(rates balance.Rates, r requestkey.Request, q balance.Query) (c balance.Choice, marked int, result string, err error) {
	marked, verdict := p.Cookie.Read(r)
	switch verdict {
	case affinity.Member:
		if !q.Tried.Has(marked) {
			if c, ok := p.Picker.TakeMember(marked); ok {
				c, err = passed(rates, c)
				return c, marked, affinityKept, err
			}
		}
		if p.Refuse {
			return c, marked, affinityRefused, errSticky
		}
		result = affinityMoved
	case affinity.Gone:
		marked, result = -1, affinityGone
	case affinity.Tampered:
		marked, result = -1, affinityTampered
	default:
		marked, result = -1, affinityNew
	}
	c, err = p.takeAny(rates, r, q)
	return c, marked, result, err
}

func (p *Pool) takeByToken(rates balance.Rates, r requestkey.Request, q balance.Query) (c balance.Choice, result string, err error) {
	key, ok := requestkey.First(p.Token, r)
	if !ok {
		c, err = p.takeAny(rates, r, q)
		return c, affinityNew, err
	}
	home := p.Tokens.Home(key)
	if home >= 0 && !q.Tried.Has(home) {
		if c, ok := p.Tokens.TakeMember(home); ok {
			c, err = passed(rates, c)
			return c, affinityKept, err
		}
	}
	if p.Refuse {
		return c, affinityRefused, errSticky
	}
	q.Key, q.Keyed = key, true
	c, err = pass(rates, p.Tokens, &q)
	return c, affinityMoved, err
}

// attemptRequest is an attempt's request as balancing looks at it.
type attemptRequest attempt

func (a *attemptRequest) ClientIP() netip.Addr {
	return a.gen.Forwarded.ClientAddr(a.req.Fields, a.peer).Addr()
}
func (a *attemptRequest) Path() []byte { return a.up.Path }
func (a *attemptRequest) Query() []byte {
	if len(a.req.Query) > 0 {
		return a.req.Query[1:] // without its "?"
	}
	return nil
}
func (a *attemptRequest) Header(name string) ([]byte, bool) { return a.req.Fields.Get(name) }

// plainRequest is the same for net/http.
type plainRequest struct {
	*http.Request
	forwarded *forwarded.Policy
	target    string
}

func (r plainRequest) ClientIP() netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return r.forwarded.ClientAddrOf(r.Request.Header, peer).Addr()
}
func (r plainRequest) Path() []byte {
	path, _, _ := strings.Cut(r.target, "?")
	return []byte(path)
}
func (r plainRequest) Query() []byte { return []byte(r.URL.RawQuery) }
func (r plainRequest) Header(name string) ([]byte, bool) {
	if name == "host" {
		return []byte(r.Host), true
	}
	values := r.Request.Header[http.CanonicalHeaderKey(name)]
	if len(values) == 0 {
		return nil, false
	}
	return []byte(values[0]), true
}

package app

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// sessionFilter is an api.SessionFilter that was checked. The engine does all but the
// search.
type sessionFilter struct {
	app  *App
	of   relay.Filter
	text string // in lower case; "" for none

	// What was found of the text in words, so that each is looked at once.
	routes, backends map[uint32]bool
	scratch          []byte
}

// filter checks f. The error is an *api.Problem that names the field.
func (a *App) filter(f api.SessionFilter) (*sessionFilter, error) {
	s := &sessionFilter{app: a, text: strings.ToLower(f.Search), routes: map[uint32]bool{}, backends: map[uint32]bool{}}
	if err := s.addIDs(f.ID, f.Claim); err != nil {
		return nil, err
	}
	if err := s.addPool(f.Pool, f.Backend); err != nil {
		return nil, err
	}
	if f.Route != "" {
		n, ok := a.names.Find(f.Route)
		if !ok {
			return nil, api.Invalid("route", "no session has had the route %s: GET /v1/routes lists them", hint.Quote(f.Route))
		}
		s.of.Routes = map[uint32]bool{n: true}
	}
	if f.Client != "" {
		var ok bool
		if s.of.Clients, s.of.Port, ok = parseClient(f.Client); !ok {
			return nil, api.Invalid("client", "client %s is not an address, an address with a port or a network: write it like 192.0.2.7, 192.0.2.7:51000, [2001:db8::1]:51000 or 192.0.2.0/24", hint.Quote(f.Client))
		}
	}
	return s, s.addTimes(f.MinAge, f.MaxAge, f.MinIdle)
}

func (s *sessionFilter) addIDs(id, claim string) error {
	if id != "" {
		n, err := session.ParseID(id)
		if err != nil {
			return api.Invalid("id", "%v", err)
		}
		s.of.IDs = map[session.ID]bool{n: true}
	}
	if claim == "" {
		return nil
	}
	c, err := api.ParseClaim(claim)
	if err != nil {
		return api.Invalid("claim", "%v", err)
	}
	if !s.app.isShown(c.Name) {
		return api.Invalid("claim", "sessions don't show the claim %s: list it in session_claims", hint.Quote(c.Name))
	}
	found := s.app.claims.find(c.Name, c.Value)
	if s.of.IDs != nil {
		for id := range s.of.IDs {
			s.of.IDs = map[session.ID]bool{}
			if found[id] {
				s.of.IDs[id] = true
			}
		}
		return nil
	}
	s.of.IDs = found
	return nil
}

// isShown reports whether sessions show a claim. Otherwise one that is misspelt would look
// like one that nobody has.
func (a *App) isShown(claim string) (shown bool) {
	eachAuth(a.current.Load(), func(_ config.Path, of *config.Auth) {
		shown = shown || of.JWT != nil && slices.Contains(of.JWT.SessionClaims, claim)
	})
	return shown
}

// addPool adds the backends of a pool, also those that were removed and have sessions.
func (s *sessionFilter) addPool(pool, backend string) error {
	switch {
	case pool == "" && backend == "":
		return nil
	case pool == "":
		return api.Invalid("backend", "backend needs pool: a backend of another pool may have the same name")
	}
	exists := false
	var pools, names []string
	for i := range s.app.current.Load().Pools {
		p := &s.app.current.Load().Pools[i]
		exists = exists || p.Name == pool
		pools = append(pools, p.Name)
	}
	s.of.Backends = map[uint32]bool{}
	for _, b := range s.app.registry.Backends() {
		if b.Pool != pool {
			continue
		}
		exists = true
		names = append(names, b.Name)
		if backend == "" || b.Name == backend {
			s.of.Backends[b.ID] = true
		}
	}
	switch {
	case !exists:
		return api.Invalid("pool", "there is no pool %s%s", hint.Quote(pool), hint.DidYouMean(pool, pools))
	case backend != "" && len(s.of.Backends) == 0:
		return api.Invalid("backend", "the pool %s has no backend %s%s", pool, hint.Quote(backend), hint.DidYouMean(backend, names))
	}
	return nil
}

// parseClient reads an address, an address with a port, or a network.
func parseClient(text string) (network netip.Prefix, port uint16, ok bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		return p.Masked(), 0, true
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		var both netip.AddrPort
		if both, err = netip.ParseAddrPort(text); err != nil || both.Port() == 0 {
			return netip.Prefix{}, 0, false
		}
		a, port = both.Addr(), both.Port()
	}
	a = a.Unmap().WithZone("") // sessions have no zones
	return netip.PrefixFrom(a, a.BitLen()), port, true
}

func (s *sessionFilter) addTimes(minAge, maxAge, minIdle string) error {
	now := time.Now()
	for _, t := range []struct {
		field, text string
		use         func(time.Duration)
	}{
		{"min_age", minAge, func(d time.Duration) { s.of.UpTo = now.Add(-d) }},
		{"max_age", maxAge, func(d time.Duration) { s.of.After = now.Add(-d) }},
		{"min_idle", minIdle, func(d time.Duration) { s.of.Idle = d }},
	} {
		if t.text == "" {
			continue
		}
		d, err := config.ParseDuration(t.text)
		if err != nil {
			return api.Invalid(t.field, "%s: %v", t.field, err)
		}
		t.use(d)
	}
	return nil
}

// nobody reports that no session can match.
func (s *sessionFilter) nobody() bool { return s.of.IDs != nil && len(s.of.IDs) == 0 }

// includes does the search in a session that the engine's part of the filter includes.
func (s *sessionFilter) includes(of *session.Summary) bool {
	if s.text == "" {
		return true
	}
	if once(s.routes, of.Route, func() bool { return s.in(s.app.names.Word(of.Route)) }) {
		return true
	}
	if once(s.backends, of.Backend, func() bool {
		b := s.app.registry.Backend(of.Backend)
		return b != nil && (s.in(b.Pool) || s.in(b.Name))
	}) {
		return true
	}
	s.scratch = of.ID.AppendTo(s.scratch[:0])
	if s.in(string(s.scratch)) {
		return true
	}
	s.scratch = of.Client.AppendTo(s.scratch[:0])
	if s.in(string(s.scratch)) {
		return true
	}
	for _, value := range s.app.claims.get(of.ID).All() {
		if s.in(value) {
			return true
		}
	}
	return false
}

func (s *sessionFilter) in(word string) bool { return strings.Contains(strings.ToLower(word), s.text) }

// once returns what found has for a number, or else what find returns.
func once(found map[uint32]bool, number uint32, find func() bool) bool {
	yes, known := found[number]
	if !known {
		yes = find()
		found[number] = yes
	}
	return yes
}

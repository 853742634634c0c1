package app

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/identity/jwtkeys"
	"github.com/holdfast-ws/holdfast/internal/identity/subrequest"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
)

// authSources are what policies need to find out who clients are. They outlive
// configurations.
type authSources struct {
	keys map[jwtkeys.Spec]*jwtkeys.Source
	asks map[subrequest.Spec]*subrequest.Client
}

// eachAuth calls f with each auth of a configuration, and its path.
func eachAuth(c *config.Config, f func(p config.Path, a *config.Auth)) {
	for i := range c.Listeners {
		if a := c.Listeners[i].Auth; a != nil {
			f(config.Path("listeners").Index(i).Key("auth"), a)
		}
	}
	for i := range c.Routes {
		if a := c.Routes[i].Auth; a != nil {
			f(config.Path("routes").Index(i).Key("auth"), a)
		}
	}
}

func keySpec(j *config.JWT) jwtkeys.Spec {
	s := jwtkeys.Spec{URL: j.JWKSURL, Set: j.JWKSFile, PEM: j.PublicKeyFile, Secret: j.SecretFile, Text: j.KeyText}
	if s.URL != "" {
		s.Refresh, s.CA = j.Refresh, j.CA
	}
	return s
}

func askSpec(r *config.AuthRequest) subrequest.Spec {
	return subrequest.Spec{URL: r.URL, CA: r.CA, Timeout: r.Timeout, Most: r.MaxConcurrent, Cache: r.Cache}
}

// loadAuth reads the files that auth of c names. It changes nothing; useAuth does.
func (a *App) loadAuth(c *config.Config) (*authSet, error) {
	s, err := a.loadSources(c)
	if err != nil {
		if errs := authErrors(c); len(errs) > 0 {
			c.Locate(errs)
			return nil, errs
		}
		return nil, err
	}
	return newAuthSet(c, s), nil
}

func (a *App) loadSources(c *config.Config) (s authSources, err error) {
	var keys []jwtkeys.Spec
	var asks []subrequest.Spec
	eachAuth(c, func(_ config.Path, of *config.Auth) {
		if of.JWT != nil {
			keys = append(keys, keySpec(of.JWT))
		}
		if of.Request != nil {
			asks = append(asks, askSpec(of.Request))
		}
	})
	if s.keys, err = a.keys.Load(keys); err == nil {
		s.asks, err = a.asks.Load(asks)
	}
	return s, err
}

// authErrors are what is wrong with the files that auth of c names.
func authErrors(c *config.Config) (errs config.Errors) {
	eachAuth(c, func(p config.Path, of *config.Auth) {
		if of.JWT != nil {
			if err := jwtkeys.Check(keySpec(of.JWT)); err != nil {
				errs = append(errs, config.Error{Path: keyPath(p.Key("jwt"), of.JWT), Msg: err.Error()})
			}
		}
		if of.Request != nil {
			if err := subrequest.Check(askSpec(of.Request)); err != nil {
				errs = append(errs, config.Error{Path: p.Key("request").Key("ca"), Msg: err.Error()})
			}
		}
	})
	return errs
}

// keyPath is the path of the file that the keys are read from.
func keyPath(p config.Path, j *config.JWT) config.Path {
	switch {
	case j.JWKSFile != "":
		return p.Key("jwks_file")
	case j.PublicKeyFile != "":
		return p.Key("public_key_file")
	case j.SecretFile != "":
		return p.Key("secret_file")
	}
	return p.Key("ca")
}

// useAuth follows the sources of set from now on. It waits a moment for the keys of new
// URLs, so that the first clients aren't refused.
func (a *App) useAuth(set *authSet, wait time.Duration) {
	a.keys.Use(set.sources.keys, wait)
	a.asks.Use(set.sources.asks)
	a.auth = set
}

// authPolicy makes the policy of a route or a listener.
func authPolicy(of *config.Auth, s authSources) *auth.Policy {
	if of == nil {
		return nil
	}
	p := new(auth.Policy)
	if j := of.JWT; j != nil {
		o := auth.JWTOptions{
			Keys: s.keys[keySpec(j)], Algorithms: j.Algorithms, Sources: j.Token,
			Issuer: j.Issuer, Audience: j.Audience, Leeway: j.Leeway, Required: j.RequiredClaims,
			Strip: j.StripToken, Session: j.SessionClaims, CloseOnExpiry: j.OnExpiry == "close", NoExpiry: j.AllowNoExpiry,
		}
		for _, h := range j.ClaimsToHeaders {
			o.Headers = append(o.Headers, auth.HeaderOf{Name: h[0], Claim: h[1]})
		}
		p.JWT = auth.NewJWT(o)
	}
	if r := of.Request; r != nil {
		p.Request = auth.NewRequest(auth.RequestOptions{Client: s.asks[askSpec(r)], Headers: r.Headers, Copy: r.CopyHeaders, Open: r.OnError == "allow"})
	}
	return p
}

// listenerAuth has the policies of listeners, by their names.
func listenerAuth(c *config.Config, s authSources) map[string]*auth.Policy {
	all := map[string]*auth.Policy{}
	for i := range c.Listeners {
		if p := authPolicy(c.Listeners[i].Auth, s); p != nil {
			all[c.Listeners[i].Name] = p
		}
	}
	return all
}

// authSet is who may come by a configuration. Generations of the same configuration have
// the same, so that a request isn't asked again when a pool's backends change meanwhile.
type authSet struct {
	sources   authSources
	routes    []*auth.Policy // in the order of the configuration
	listeners map[string]*auth.Policy
	reserved  *auth.Reserved
}

func newAuthSet(c *config.Config, s authSources) *authSet {
	set := &authSet{sources: s, listeners: listenerAuth(c, s)}
	reserved := new(auth.Reserved)
	for i := range c.Routes {
		p := authPolicy(c.Routes[i].Auth, s)
		set.routes = append(set.routes, p)
		reserved.Add(p)
	}
	for _, p := range set.listeners {
		reserved.Add(p)
	}
	if reserved.Some() {
		set.reserved = reserved
	}
	return set
}

// use makes it part of a generation, which has the other policies of routes.
func (set *authSet) use(g *generation.Generation) {
	for i, p := range set.routes {
		g.Policies[i].Auth = p
		if s := g.Policies[i].Split; s != nil {
			for _, part := range s.Parts {
				g.PolicyOf(part.Rule).Auth = p
			}
		}
	}
	g.Reserved = set.reserved
}

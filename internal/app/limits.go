package app

import (
	"fmt"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/tally"
)

// routeScopes names what the limits of each route are counted under. A route keeps its
// name at a reload if its host and path stay, and the order of those that share them.
func routeScopes(c *config.Config) []string {
	scopes, same := make([]string, len(c.Routes)), map[string]int{}
	for i := range c.Routes {
		m := &c.Routes[i].Match
		label := hostAndPath(m) + opaqueLabel(m)
		scopes[i] = fmt.Sprintf("%s #%d", label, same[label])
		same[label]++
	}
	return scopes
}

// limitRules are the limits l of a route, of which some are its own. Those that are not
// are counted together for all routes.
func (a *App) limitRules(l, own config.RouteLimits, route string) (r limit.Rules) {
	scope := func(isOwn bool) limit.Scope {
		if isOwn {
			return a.limiter.Scope(route)
		}
		return a.limiter.Scope("")
	}
	if most := l.MaxSessionsPerAddress; most != nil {
		r.Sessions = limit.Max{Scope: scope(own.MaxSessionsPerAddress != nil), Max: *most}
	}
	if n := l.NewSessionsPerAddress; n != nil && n.Rate > 0 {
		r.New = limit.Rate{Scope: scope(own.NewSessionsPerAddress != nil), Rate: tally.PerSecond(n.Rate, n.Burst)}
	}
	if most := l.MaxRequestsPerAddress; most != nil {
		r.Requests = limit.Max{Scope: scope(own.MaxRequestsPerAddress != nil), Max: *most}
	}
	if n := l.NewRequestsPerAddress; n != nil && n.Rate > 0 {
		r.NewRequests = limit.Rate{Scope: scope(own.NewRequestsPerAddress != nil), Rate: tally.PerSecond(n.Rate, n.Burst)}
	}
	if n := l.MaxSessionsPerClaim; n != nil {
		r.Claim = limit.Max{Scope: scope(own.MaxSessionsPerClaim != nil), Max: n.Max}
	}
	return r
}

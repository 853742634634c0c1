package app

import (
	"net/netip"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/stage/access"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
)

// policies makes the policies of rules, those of routeRules(c), in the same order. g has
// what holds for all routes.
func (a *App) policies(c *config.Config, g *generation.Generation, rules []route.Rule) (all []generation.Policy, err error) {
	all = make([]generation.Policy, len(rules))
	scopes := routeScopes(c)
	for i := range all {
		r, scope := new(config.Route), "" // the last rules need no route
		if i < len(c.Routes) {
			r, scope = &c.Routes[i], scopes[i]
		}
		all[i] = generation.Policy{
			Access:       accessOf(r.Allow, r.Deny, r.Origins),
			Subprotocols: r.Subprotocols,
			Limits:       a.limitRules(c.LimitsOf(i), r.Limits, scope),
		}
		if most := c.LimitsOf(i).MaxBody; most != nil {
			all[i].MaxBody = int64(*most)
		}
		if claim := c.LimitsOf(i).MaxSessionsPerClaim; claim != nil {
			all[i].LimitedClaim = claim.Claim
		}
		if own := sessionLimits(c, i, &r.Timeouts); own != g.Limits {
			all[i].Session = &own
		}
		if all[i].Answer, err = newAnswer(r); err != nil {
			return nil, err
		}
		if all[i].Forward, err = newForward(c, r, g, rules[i].Label); err != nil {
			return nil, err
		}
		for _, name := range r.Upgrades {
			if !strings.EqualFold(name, "websocket") {
				all[i].Upgrades = append(all[i].Upgrades, name)
			}
		}
	}
	return all, nil
}

// listenerPolicies makes the policies of the listeners of c, by name.
func listenerPolicies(c *config.Config, set *authSet) map[string]*generation.ListenerPolicy {
	all := make(map[string]*generation.ListenerPolicy, len(c.Listeners))
	for i := range c.Listeners {
		all[c.Listeners[i].Name] = listenerPolicy(&c.Listeners[i], set)
	}
	return all
}

func listenerPolicy(l *config.Listener, set *authSet) *generation.ListenerPolicy {
	return &generation.ListenerPolicy{Access: accessOf(l.Allow, l.Deny, l.Origins), Auth: set.listeners[l.Name]}
}

func accessOf(allow, deny []netip.Prefix, origins *config.Origins) generation.Access {
	a := generation.Access{Addresses: access.Addresses{Allow: allow, Deny: deny}}
	if origins != nil {
		a.Origins = &access.Origins{Allow: origins.Allow, Required: origins.Required}
	}
	return a
}

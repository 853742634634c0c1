package app

import (
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
)

// policies makes the policies of rules, those of routeRules(c), in the same order. g has
// what holds for all routes.
func (a *App) policies(c *config.Config, g *generation.Generation, rules []route.Rule) (all []generation.Policy, err error) {
	all = make([]generation.Policy, len(rules))
	scopes := routeScopes(c)
	for i := range all {
		r := new(config.Route) // without routes, there is one rule
		if len(c.Routes) > 0 {
			r = &c.Routes[i]
		}
		all[i].Limits = a.limitRules(c.LimitsOf(i), r.Limits, scopes[i])
		if all[i].Forward, err = newForward(c, r, g, rules[i].Label); err != nil {
			return nil, err
		}
	}
	return all, nil
}

package app

import (
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
)

// policies makes the policies of routeRules(c), in the same order.
func (a *App) policies(c *config.Config) []generation.Policy {
	all := make([]generation.Policy, max(1, len(c.Routes)))
	scopes := routeScopes(c)
	for i := range all {
		var own config.RouteLimits
		if len(c.Routes) > 0 {
			own = c.Routes[i].Limits
		}
		all[i].Limits = a.limitRules(c.LimitsOf(i), own, scopes[i])
	}
	return all
}

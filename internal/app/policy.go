package app

import (
	"net/netip"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/stage/access"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
)

// policies makes the policies of rules, those of routeRules(c), in the same order, and
// after them those of the parts of splits. g has what holds for all routes.
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
		if all[i].Forward, err = newForward(c, r, new(config.SplitPart), g, rules[i].Label); err != nil {
			return nil, err
		}
		for _, name := range r.Upgrades {
			if !strings.EqualFold(name, "websocket") {
				all[i].Upgrades = append(all[i].Upgrades, name)
			}
		}
	}
	return addSplits(all, c, g, rules)
}

// addSplits gives the policies of rules their splits, and appends those of the parts: that
// of the rule, but for what a part changes.
func addSplits(all []generation.Policy, c *config.Config, g *generation.Generation, rules []route.Rule) ([]generation.Policy, error) {
	splits := splitsOf(c, rules)
	for i := range rules {
		if len(splits[i]) == 0 {
			continue
		}
		r := new(config.Route)
		if i < len(c.Routes) {
			r = &c.Routes[i]
		}
		var parts []generation.SplitPart
		for j := range splits[i] {
			part, policy, rule := &splits[i][j], all[i], rules[i]
			rule.Pool, rule.Index = part.Pool, len(all)
			policy.Answer = responds(part.Respond)
			var err error
			if policy.Forward, err = newForward(c, r, part, g, rule.Label); err != nil {
				return nil, err
			}
			all = append(all, policy)
			parts = append(parts, generation.SplitPart{Rule: &rule, Weight: part.Weight})
		}
		all[i].Split = generation.NewSplit(parts)
	}
	return all, nil
}

// splitsOf are the splits of rules, those of routeRules(c).
func splitsOf(c *config.Config, rules []route.Rule) []config.Split {
	splits := make([]config.Split, len(rules))
	for i := range c.Routes {
		splits[i] = c.Routes[i].Split
	}
	of := map[string]config.Split{}
	for i := range c.Listeners {
		of[c.Listeners[i].Name] = c.Listeners[i].Split
	}
	for i := len(c.Routes); i < len(rules); i++ {
		if rules[i].Opaque {
			splits[i] = of[rules[i].Connection.Listener]
		}
	}
	return splits
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
	p := &generation.ListenerPolicy{Access: accessOf(l.Allow, l.Deny, l.Origins), Auth: set.listeners[l.Name], Silent: l.Silent}
	if l.TLS != nil {
		p.Isolated = route.NewIsolated(l.TLS.Isolate)
	}
	return p
}

func accessOf(allow, deny []netip.Prefix, origins *config.Origins) generation.Access {
	a := generation.Access{Addresses: access.Addresses{Allow: allow, Deny: deny}}
	if origins != nil {
		a.Origins = &access.Origins{Allow: origins.Allow, Required: origins.Required}
	}
	return a
}

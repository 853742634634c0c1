package gateway

import (
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// httpRoutes attaches the HTTPRoutes to listeners, and adds their statuses to the result.
func (t *translator) httpRoutes() {
	for _, route := range oldestFirst(t.s.HTTPRoutes) {
		parents := t.parents("HTTPRoute", route, route.Spec.ParentRefs, route.Spec.Hostnames)
		if len(parents) == 0 && !t.hasEntries(route.Status.Parents) {
			continue
		}
		var rules []*rule
		var resolved verdict
		for i := range route.Spec.Rules {
			r := t.compileRule(route, i)
			resolved = resolved.orElse(r.resolved)
			rules = append(rules, r)
		}
		wrong, all := whatIsWrong(rules)
		if !wrong.ok() && all {
			reject(parents, wrong)
		}
		partially := wrong
		partially.message = "Dropped Rule, its requests are answered with 500: " + wrong.message
		kept := rules
		if v := t.room.take(route.Namespace, size(rules, parents)); !v.ok() {
			rules = nil
			reject(parents, v)
		}
		for _, a := range count(parents) {
			a.listener.addRules(rules, a.hosts)
			a.listener.kept = append(a.listener.kept, kept...)
		}
		for _, p := range parents {
			if p.accepted.ok() {
				for _, r := range rules {
					t.policies.used(p.gateway, r.backends)
				}
			}
		}
		status := route.DeepCopy()
		status.Status.Parents = t.routeStatus(route.Status.Parents, parents, route.Generation, resolved, partially)
		t.result.Statuses = append(t.result.Statuses, status)
	}
}

// size is the number of routes of the configuration that the rules become.
func size(rules []*rule, parents []*parent) (n int) {
	matches, hosts := 0, 0
	for _, r := range rules {
		if matches += len(r.matches); r.actions.cors != nil {
			matches += 3 * len(r.matches) // see withCORS
		}
	}
	for _, p := range parents {
		for _, a := range p.at {
			hosts += len(a.hosts)
		}
	}
	return matches * hosts
}

// hasEntries reports whether the status of a route has entries of ours, which may have to go.
func (t *translator) hasEntries(entries []gwv1.RouteParentStatus) bool {
	return slices.ContainsFunc(entries, func(s gwv1.RouteParentStatus) bool { return string(s.ControllerName) == t.o.ControllerName })
}

// addRules adds what the rules match on the hosts of l.
func (l *listener) addRules(rules []*rule, hosts []hostPair) {
	for _, r := range rules {
		for i := range r.matches {
			for _, h := range hosts {
				l.rules = append(l.rules, hostRule{r, i, h.route, h.both})
			}
		}
	}
}

// httpRoutesOf adds the routes of a port to the result: those of the listener with the most
// specific host first, and behind them one that answers 404, so that requests for its hosts
// get to no other listener.
func (t *translator) httpRoutesOf(g *gateway, p *port, name string) {
	scheme := "http"
	if p.family == https {
		scheme = "https"
	}
	for i, l := range p.listeners {
		slices.SortFunc(l.rules, precedence)
		for _, h := range l.rules {
			if !l.valid() {
				break
			}
			owner := h.rule.owner()
			for _, route := range h.rule.routes(h.match, name, func() (string, config.Split) { return t.targets(g, h.rule) }, scheme, p.number) {
				route.Match.Host = parsedHost(h.host)
				t.addRoute(route, owner, l)
			}
		}
		if slices.ContainsFunc(p.listeners[i+1:], func(wider *listener) bool { return wider.host == "" || covers(wider.host, l.host) }) {
			t.addRoute(config.Route{Match: config.Match{Listener: name, Host: parsedHost(l.host)}, Respond: status(404)}, translate.Owner{Object: l.owner}, l)
		}
	}
}

func (t *translator) addRoute(r config.Route, owner translate.Owner, l *listener) {
	t.result.Routes = append(t.result.Routes, translate.Route{Route: r, Owner: owner, Sections: []string{string(l.name)}})
}

// parsedHost is the pattern of a host that the API server has checked. One that it
// shouldn't have accepted is made one that nobody asks for.
func parsedHost(host string) pattern.Host {
	if host == "" {
		return pattern.Host{}
	}
	h, err := pattern.ParseHost(host)
	if err != nil {
		h, _ = pattern.ParseHost("invalid.invalid")
	}
	return h
}

// routes makes the routes of a match, without their host; see build.
func (r *rule) routes(index int, listener string, targets func() (string, config.Split), scheme string, port int32) []config.Route {
	base := r.build(index, listener, targets, scheme, port)
	if r.actions.cors == nil || !r.wrong.ok() {
		return []config.Route{base}
	}
	return withCORS(base, r.actions.cors)
}

// build makes the route of a match, without its host. targets returns where its requests
// go: one pool, or several; neither means that there is none.
func (r *rule) build(index int, listener string, targets func() (string, config.Split), scheme string, port int32) config.Route {
	c := config.Route{Match: r.matches[index].Match}
	c.Match.Listener = listener
	if !r.wrong.ok() {
		c.Respond = status(500)
		return c
	}
	c.ResponseHeaders = r.actions.response
	if r.actions.redirect != nil {
		redirect, err := redirection(r.actions.redirect, &c.Match, scheme, port)
		if err != nil {
			r.fail(gwv1.RouteReasonUnsupportedValue, "%s", plain(err))
			return r.build(index, listener, targets, scheme, port)
		}
		c.Redirect = redirect
		return c
	}
	c.Pool, c.Split = targets()
	if c.Pool == "" && c.Split == nil {
		c.Respond = status(500)
		return c
	}
	c.RequestHeaders, c.Timeouts = r.actions.request, r.timeouts
	if r.actions.rewrite != nil {
		rewrite, err := rewriting(r.actions.rewrite, &c.Match)
		if err != nil {
			r.fail(gwv1.RouteReasonUnsupportedValue, "%s", plain(err))
			return r.build(index, listener, targets, scheme, port)
		}
		c.Rewrite = rewrite
	}
	return c
}

// targets is where the requests of a rule go.
func (t *translator) targets(g *gateway, r *rule) (string, config.Split) {
	v := r.variant(g)
	if len(r.backends) == 1 && r.backends[0].wrong.ok() && r.backends[0].weight > 0 && !r.backends[0].edits.some() {
		return t.pool(&r.backends[0], v, r.owner()), nil
	}
	return "", t.split(r.backends, v, r.owner(), true)
}

// split divides requests, or connections, among backends by their weights. Those that can't
// be used keep their share, which is answered with 500 or refused. It is nil if all are such,
// and there are requests.
func (t *translator) split(backends []backend, v variant, owner translate.Owner, requests bool) (s config.Split) {
	wrong, sum, usable := 0, 0, false
	for i := range backends {
		b := &backends[i]
		sum += b.weight
		if !b.wrong.ok() {
			wrong += b.weight
			continue
		}
		usable = usable || b.weight > 0
		part := config.SplitPart{Weight: b.weight, RequestHeaders: b.edits.request, ResponseHeaders: b.edits.response}
		of := v
		for {
			part.Pool = t.pool(b, of, owner)
			j := slices.IndexFunc(s, func(other config.SplitPart) bool { return other.Pool == part.Pool })
			if j < 0 {
				s = append(s, part)
				break
			}
			if b.weight == 0 || !b.edits.some() && !anyEdit(&s[j].RequestHeaders) && !anyEdit(&s[j].ResponseHeaders) {
				s[j].Weight = min(s[j].Weight+b.weight, maxWeight)
				break
			}
			of.name += "+"
		}
	}
	switch {
	case !usable || sum == 0:
		return nil
	case wrong > 0 && requests:
		s = append(s, config.SplitPart{Weight: min(wrong, maxWeight), Respond: status(500)})
	case wrong > 0:
		s = append(s, config.SplitPart{Weight: min(wrong, maxWeight), Pool: t.refuse()})
	}
	return s
}

// maxWeight is that of a part of a split.
const maxWeight = 1_000_000

// used notes for their policies that a Gateway sends requests to the backends.
func (p *tlsPolicies) used(g *gateway, backends []backend) {
	for i := range backends {
		p.usedBy(g, backends[i].service)
	}
}

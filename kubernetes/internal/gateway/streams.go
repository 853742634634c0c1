package gateway

import (
	"cmp"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// stream is a TLSRoute or TCPRoute for one host of a listener.
type stream struct {
	route           client.Object
	name            string // of its rule
	routeHost, host string
	backends        []backend
}

func (t *translator) tlsRoutes() {
	for _, route := range oldestFirst(t.s.TLSRoutes) {
		parents := t.parents("TLSRoute", route, route.Spec.ParentRefs, route.Spec.Hostnames)
		if len(parents) == 0 && !t.hasEntries(route.Status.Parents) {
			continue
		}
		var refs [][]gwv1.BackendRef
		var names []string
		for _, rule := range route.Spec.Rules {
			refs, names = append(refs, rule.BackendRefs), append(names, string(deref(rule.Name, "")))
		}
		resolved := t.streams("TLSRoute", route, parents, refs, names)
		status := route.DeepCopy()
		status.Status.Parents = t.routeStatus(route.Status.Parents, parents, route.Generation, resolved, verdict{})
		t.result.Statuses = append(t.result.Statuses, status)
	}
}

func (t *translator) tcpRoutes() {
	for _, route := range oldestFirst(t.s.TCPRoutes) {
		parents := t.parents("TCPRoute", route, route.Spec.ParentRefs, nil)
		if len(parents) == 0 && !t.hasEntries(route.Status.Parents) {
			continue
		}
		var refs [][]gwv1.BackendRef
		var names []string
		for _, rule := range route.Spec.Rules {
			refs, names = append(refs, rule.BackendRefs), append(names, string(deref(rule.Name, "")))
		}
		resolved := t.streams("TCPRoute", route, parents, refs, names)
		status := route.DeepCopy()
		status.Status.Parents = t.routeStatus(route.Status.Parents, parents, route.Generation, resolved, verdict{})
		t.result.Statuses = append(t.result.Statuses, status)
	}
}

// streams attaches a route for connections to listeners. Such a route has one rule.
func (t *translator) streams(kind string, route client.Object, parents []*parent, rules [][]gwv1.BackendRef, names []string) (resolved verdict) {
	var backends []backend
	for _, refs := range rules {
		for _, ref := range refs {
			b := t.backend(kind, route.GetNamespace(), ref)
			resolved = resolved.orElse(b.wrong)
			backends = append(backends, b)
		}
	}
	if len(rules) != 1 { // its connections are refused
		reject(parents, verdict{string(gwv1.RouteReasonUnsupportedValue), "the route has more than one rule, or none"})
		backends, names = nil, []string{""}
	}
	n := 0
	for _, p := range parents {
		for _, a := range p.at {
			n += max(1, len(a.hosts))
		}
	}
	if v := t.room.take(route.GetNamespace(), n); !v.ok() {
		reject(parents, v)
		return resolved
	}
	for _, p := range parents {
		if p.accepted.ok() && slices.ContainsFunc(p.at, func(a attachment) bool { return a.listener.family == terminated }) {
			t.policies.used(p.gateway, backends)
		}
	}
	for _, a := range count(parents) {
		backends := backends
		if a.listener.family == terminated {
			backends = afterTLS(backends)
		}
		hosts := a.hosts
		if a.listener.family == tcp {
			hosts = []hostPair{{}}
		}
		for _, h := range hosts {
			a.listener.streams = append(a.listener.streams, stream{route, names[0], h.route, h.both, backends})
		}
	}
	return resolved
}

// streamRoutes adds the routes of a port without requests to the result. It returns where
// connections go that none of them is for; neither pool nor split means nowhere. served is
// false if none goes anywhere.
func (t *translator) streamRoutes(g *gateway, p *port, name string) (pool string, split config.Split, served bool) {
	for _, l := range p.listeners {
		if !l.valid() {
			continue
		}
		// An older route wins if two are for the same host.
		slices.SortStableFunc(l.streams, func(a, b stream) int {
			return cmp.Or(moreSpecificLength(a.routeHost, b.routeHost), byAge(a.route, b.route))
		})
		seen := map[string]bool{}
		for _, s := range l.streams {
			if seen[s.host] {
				continue
			}
			seen[s.host] = true
			owner := translate.Owner{Object: s.route, RuleName: s.name}
			toPool, toSplit := t.streamTargets(g, s.backends, owner)
			served = true
			if s.host == "" {
				pool, split = toPool, toSplit
				continue
			}
			t.addRoute(config.Route{Match: config.Match{Listener: name, SNI: parsedHost(s.host)}, Pool: toPool, Split: toSplit}, owner, l)
		}
		if !seen[l.host] && l.host != "" {
			t.addRoute(config.Route{Match: config.Match{Listener: name, SNI: parsedHost(l.host)}, Pool: t.refuse()}, translate.Owner{Object: l.owner}, l)
			served = true
		}
	}
	return pool, split, served
}

func (t *translator) streamTargets(g *gateway, backends []backend, owner translate.Owner) (string, config.Split) {
	if len(backends) == 1 && backends[0].wrong.ok() && backends[0].weight > 0 {
		return t.pool(&backends[0], variant{cert: g.clientCert}, owner), nil
	}
	if split := t.split(backends, variant{cert: g.clientCert}, owner, false); split != nil {
		return "", split
	}
	return t.refuse(), nil
}

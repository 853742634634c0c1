package gateway

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// parent is a parentRef of a route to a Gateway or ListenerSet of ours.
type parent struct {
	ref      gwv1.ParentReference
	gateway  *gateway
	accepted verdict
	at       []attachment
}

// attachment is a listener that a route is attached to, with the hosts that both have.
type attachment struct {
	listener *listener
	hosts    []hostPair
}

// hostPair is a host pattern of a route, and what of it is the listener's, too.
type hostPair struct{ route, both string }

// parents finds out which listeners a route is attached to.
func (t *translator) parents(kind string, route client.Object, refs []gwv1.ParentReference, hostnames []gwv1.Hostname) (parents []*parent) {
	for _, ref := range refs {
		if deref(ref.Group, gwv1.GroupName) != gwv1.GroupName {
			continue
		}
		name := types.NamespacedName{Namespace: string(deref(ref.Namespace, gwv1.Namespace(route.GetNamespace()))), Name: string(ref.Name)}
		p := &parent{ref: ref}
		var listeners []*listener
		switch deref(ref.Kind, "Gateway") {
		case "Gateway":
			if p.gateway = t.gateways[name]; p.gateway != nil {
				listeners = slices.DeleteFunc(slices.Clone(p.gateway.listeners), func(l *listener) bool { return l.set != nil })
			}
		case "ListenerSet":
			if set := t.sets[name]; set != nil {
				p.gateway, listeners = set.gateway, set.listeners
				if !set.rejected.ok() {
					listeners, p.accepted = nil, verdict{string(gwv1.RouteReasonNoMatchingParent), "the ListenerSet is not accepted"}
				}
			}
		}
		if p.gateway == nil {
			continue
		}
		t.attach(p, listeners, kind, route.GetNamespace(), hostnames)
		parents = append(parents, p)
	}
	return parents
}

// attach finds the listeners that p selects and that let the route in.
func (t *translator) attach(p *parent, listeners []*listener, kind, namespace string, hostnames []gwv1.Hostname) {
	listeners = slices.DeleteFunc(slices.Clone(listeners), func(l *listener) bool {
		return deref(p.ref.SectionName, l.name) != l.name || deref(p.ref.Port, l.port) != l.port
	})
	if len(listeners) == 0 {
		p.accepted = p.accepted.orElse(verdict{string(gwv1.RouteReasonNoMatchingParent), "the parent has no listener with this sectionName and port"})
		return
	}
	listeners = slices.DeleteFunc(listeners, func(l *listener) bool { return !t.allows(l, kind, namespace) })
	if len(listeners) == 0 {
		p.accepted = verdict{string(gwv1.RouteReasonNotAllowedByListeners), fmt.Sprintf("no listener that parentRef selects allows routes of the kind %s and the namespace %s", kind, namespace)}
		return
	}
	for _, l := range listeners {
		if hosts := commonHosts(l.host, hostnames); len(hosts) > 0 || l.family == tcp {
			p.at = append(p.at, attachment{l, hosts})
		}
	}
	if len(p.at) == 0 {
		p.accepted = verdict{string(gwv1.RouteReasonNoMatchingListenerHostname), "no hostname of the route is one of a listener that parentRef selects"}
	}
}

// commonHosts lists the hosts that both a listener and a route have, the more specific
// pattern of the route first.
func commonHosts(listener string, route []gwv1.Hostname) (pairs []hostPair) {
	if len(route) == 0 {
		return []hostPair{{"", listener}}
	}
	for i := range route {
		host := hostOf(&route[i])
		if both, ok := intersect(listener, host); ok {
			pairs = append(pairs, hostPair{host, both})
		}
	}
	slices.SortFunc(pairs, func(a, b hostPair) int { return moreSpecific(a.route, b.route) })
	seen := map[string]bool{}
	return slices.DeleteFunc(pairs, func(p hostPair) bool {
		again := seen[p.both]
		seen[p.both] = true
		return again
	})
}

// routeStatus is the status of a route: with an entry for each of parents in place of
// those of ours, at the same places, so that two controllers don't reorder each other's.
func (t *translator) routeStatus(old []gwv1.RouteParentStatus, parents []*parent, generation int64, resolved, invalid verdict) []gwv1.RouteParentStatus {
	entry := func(p *parent, conditions []metav1.Condition) gwv1.RouteParentStatus {
		given := []metav1.Condition{
			condition(gwv1.RouteConditionAccepted, p.accepted, gwv1.RouteReasonAccepted, "the route is attached to the parent"),
			condition(gwv1.RouteConditionResolvedRefs, resolved, gwv1.RouteReasonResolvedRefs, "all references are resolved"),
		}
		if p.accepted.ok() && !invalid.ok() {
			given = append(given, inverse(gwv1.RouteConditionPartiallyInvalid, invalid, gwv1.RouteReasonUnsupportedValue, ""))
		}
		return gwv1.RouteParentStatus{
			ParentRef: p.ref, ControllerName: gwv1.GatewayController(t.o.ControllerName),
			Conditions: t.mergeWithout(string(gwv1.RouteConditionPartiallyInvalid), conditions, generation, given...),
		}
	}
	rest := slices.Clone(parents)
	list := make([]gwv1.RouteParentStatus, 0, len(old)+len(parents)) // not null, which the API server refuses
	for _, status := range old {
		if string(status.ControllerName) != t.o.ControllerName {
			list = append(list, status)
			continue
		}
		if i := slices.IndexFunc(rest, func(p *parent) bool { return sameParent(&p.ref, &status.ParentRef) }); i >= 0 {
			list = append(list, entry(rest[i], status.Conditions))
			rest = slices.Delete(rest, i, i+1)
		}
	}
	for _, p := range rest {
		list = append(list, entry(p, nil))
	}
	return list[:min(len(list), maxParents)]
}

// maxParents is how many entries the API server takes in the status of a route.
const maxParents = 32

func sameParent(a, b *gwv1.ParentReference) bool {
	return deref(a.Group, gwv1.GroupName) == deref(b.Group, gwv1.GroupName) && deref(a.Kind, "Gateway") == deref(b.Kind, "Gateway") &&
		deref(a.Namespace, "") == deref(b.Namespace, "") && a.Name == b.Name &&
		deref(a.SectionName, "") == deref(b.SectionName, "") && deref(a.Port, 0) == deref(b.Port, 0)
}

// reject makes the route rejected by all its parents that would accept it.
func reject(parents []*parent, why verdict) {
	for _, p := range parents {
		p.accepted = p.accepted.orElse(why)
	}
}

// count counts a route at the listeners it is attached to, each once. It returns these, with
// all hosts.
func count(parents []*parent) (at []attachment) {
	for _, p := range parents {
		for _, a := range p.at {
			if slices.ContainsFunc(at, func(b attachment) bool { return b.listener == a.listener }) {
				continue
			}
			at = append(at, a)
			if p.accepted.ok() {
				a.listener.attached++
			}
		}
	}
	return at
}

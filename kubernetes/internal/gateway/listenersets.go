package gateway

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// listenerSet is a ListenerSet whose parent is a Gateway of ours.
type listenerSet struct {
	object    *gwv1.ListenerSet
	gateway   *gateway
	rejected  verdict // by the Gateway
	listeners []*listener
}

// readListenerSets adds the listeners of sets to those of their Gateways.
func (t *translator) readListenerSets() {
	objects := slices.Clone(t.s.ListenerSets)
	slices.SortFunc(objects, func(a, b *gwv1.ListenerSet) int { return byAge(a, b) })
	for _, object := range objects {
		parent := object.Spec.ParentRef
		if deref(parent.Group, gwv1.GroupName) != gwv1.GroupName || deref(parent.Kind, "Gateway") != "Gateway" {
			continue
		}
		g := t.gateways[types.NamespacedName{
			Namespace: string(deref(parent.Namespace, gwv1.Namespace(object.Namespace))), Name: string(parent.Name),
		}]
		if g == nil {
			continue
		}
		set := &listenerSet{object: object, gateway: g}
		t.sets[nameOf(object)] = set
		switch {
		case !t.allowsSet(g.object, object.Namespace):
			set.rejected = verdict{string(gwv1.ListenerSetReasonNotAllowed), fmt.Sprintf("allowedListeners of the Gateway %s doesn't allow ListenerSets of this namespace", g.name())}
		case !g.rejected.ok():
			set.rejected = verdict{string(gwv1.ListenerSetReasonParentNotAccepted), fmt.Sprintf("the Gateway %s is not accepted", g.name())}
		}
		for i := range object.Spec.Listeners {
			l := &object.Spec.Listeners[i]
			set.listeners = append(set.listeners, &listener{
				gateway: g, set: set, owner: object, ownerKind: "ListenerSet", name: l.Name, port: l.Port, protocol: l.Protocol,
				host: hostOf(l.Hostname), tls: l.TLS, allowed: l.AllowedRoutes,
			})
		}
		if set.rejected.ok() {
			g.sets = append(g.sets, set)
			g.listeners = append(g.listeners, set.listeners...)
		}
	}
}

// allowsSet reports whether a Gateway takes the ListenerSets of a namespace.
func (t *translator) allowsSet(g *gwv1.Gateway, namespace string) bool {
	if g.Spec.AllowedListeners == nil || g.Spec.AllowedListeners.Namespaces == nil {
		return false
	}
	n := g.Spec.AllowedListeners.Namespaces
	return t.selects(deref(n.From, gwv1.NamespacesFromNone), n.Selector, g.Namespace, namespace)
}

// listenerSetStatuses adds the statuses of all sets to the result.
func (t *translator) listenerSetStatuses() {
	for _, object := range t.s.ListenerSets {
		set := t.sets[nameOf(object)]
		if set == nil {
			continue
		}
		status := object.DeepCopy()
		accepted, programmed, message := set.verdicts()
		reason := gwv1.ListenerSetReasonAccepted
		if accepted.ok() && message != "" {
			reason = gwv1.ListenerSetReasonListenersNotValid
		}
		if message == "" {
			message = "all listeners are valid"
		}
		status.Status.Conditions = t.merge(object.Status.Conditions, object.Generation,
			condition(gwv1.ListenerSetConditionAccepted, accepted, reason, message),
			condition(gwv1.ListenerSetConditionProgrammed, programmed, gwv1.ListenerSetReasonProgrammed, "the listeners are served"))
		status.Status.Listeners = nil
		for _, l := range set.listeners {
			if !set.rejected.ok() {
				break
			}
			var old []metav1.Condition
			for i := range object.Status.Listeners {
				if object.Status.Listeners[i].Name == l.name {
					old = object.Status.Listeners[i].Conditions
				}
			}
			status.Status.Listeners = append(status.Status.Listeners, gwv1.ListenerEntryStatus{
				Name: l.name, SupportedKinds: l.supported(), AttachedRoutes: l.attached, Conditions: t.listenerConditions(l, old, object.Generation),
			})
		}
		t.result.Statuses = append(t.result.Statuses, status)
	}
}

// verdicts says whether the set is accepted, with a message if not all of its listeners are
// valid, and whether it is programmed.
func (set *listenerSet) verdicts() (accepted, programmed verdict, message string) {
	if !set.rejected.ok() {
		return set.rejected, set.rejected, ""
	}
	message = notValid(set.listeners)
	valid := slices.ContainsFunc(set.listeners, (*listener).valid)
	switch {
	case !valid:
		accepted = verdict{string(gwv1.ListenerSetReasonListenersNotValid), message}
		programmed = accepted
	case !set.gateway.programmed || !slices.ContainsFunc(set.listeners, (*listener).programmed):
		programmed = verdict{"ParentNotProgrammed", "the Gateway isn't programmed"}
	}
	return accepted, programmed, message
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

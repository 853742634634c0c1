package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// serve adds the listeners of g to the result, and their routes.
func (t *translator) serve(g *gateway) {
	if !g.rejected.ok() {
		return
	}
	for _, p := range g.ports {
		if p.target == 0 || !slices.ContainsFunc(p.listeners, (*listener).valid) {
			continue
		}
		l := config.Listener{
			Name:    shorten(fmt.Sprintf("gateway/%s/%d", g.name(), p.number)),
			Address: hostport.Address{Port: uint16(p.target)},
		}
		switch p.family {
		case plainHTTP, https:
			// Which pages may open WebSockets is up to the application, as with other
			// controllers, unless a policy says it.
			l.Origins = &config.Origins{Allow: []origin.Pattern{origin.Any}}
			if p.family == https {
				l.TLS = listenerTLS(p)
			}
			t.httpRoutesOf(g, p, l.Name)
		case passthrough, terminated, tcp:
			served := false
			if l.Pool, l.Split, served = t.streamRoutes(g, p, l.Name); !served {
				continue // the port stays closed
			}
			l.Mode = config.ModeTCP
			switch {
			case p.family == passthrough:
				// The API wants connections for other hosts to be closed, without an alert.
				l.Mode, l.Silent = config.ModePassthrough, true
			case p.family == terminated:
				l.TLS = listenerTLS(p)
				if l.Pool == "" && l.Split == nil {
					l.Pool = t.refuse()
				}
			}
		}
		t.result.Listeners = append(t.result.Listeners, translate.Listener{Listener: l, Owner: translate.Owner{Object: g.object}})
	}
}

// listenerTLS is the TLS of a port. The certificates of each listener are for its host and
// for no other, whatever names they have: else a ListenerSet could take over the hosts of
// others.
func listenerTLS(p *port) *config.ListenerTLS {
	tls := new(config.ListenerTLS)
	tls.SetDefaults()
	for _, l := range slices.Backward(p.listeners) { // "" first, which is for clients without SNI
		if !l.valid() {
			continue
		}
		for _, c := range l.certs {
			c.Names = []string{cmp.Or(l.host, "*")}
			tls.Certificates = append(tls.Certificates, c)
		}
		tls.ClientCAData = l.clientCA
	}
	for _, l := range p.listeners {
		if l.host != "" && l.family == https {
			tls.Isolate = append(tls.Isolate, parsedHost(l.host))
		}
	}
	return tls
}

// programmed reports whether l is served.
func (l *listener) programmed() bool {
	if !l.valid() || !l.gateway.rejected.ok() {
		return false
	}
	i := slices.IndexFunc(l.gateway.ports, func(p *port) bool { return p.number == l.port })
	return i >= 0 && l.gateway.ports[i].target != 0
}

// listenerConditions are the conditions of l.
func (t *translator) listenerConditions(l *listener, old []metav1.Condition, generation int64) []metav1.Condition {
	accepted, programmed := l.accepted.orElse(l.conflict), verdict{}
	switch {
	case !l.accepted.ok():
		programmed = verdict{string(gwv1.ListenerReasonInvalid), "the listener is not accepted"}
	case !l.conflict.ok():
		programmed = l.conflict
	case !l.unusable.ok():
		programmed = verdict{string(gwv1.ListenerReasonInvalid), l.unusable.message}
	case !l.gateway.rejected.ok():
		programmed = verdict{string(gwv1.ListenerReasonInvalid), "the Gateway is not accepted"}
	case !l.programmed():
		programmed = verdict{string(gwv1.ListenerReasonPending), fmt.Sprintf("the Service %s doesn't have the port yet", serviceName(l.gateway.name()))}
	}
	return t.merge(old, generation,
		condition(gwv1.ListenerConditionAccepted, accepted, gwv1.ListenerReasonAccepted, "the listener is valid"),
		condition(gwv1.ListenerConditionProgrammed, programmed, gwv1.ListenerReasonProgrammed, "the listener is served"),
		condition(gwv1.ListenerConditionResolvedRefs, l.resolved, gwv1.ListenerReasonResolvedRefs, "all references are resolved"),
		inverse(gwv1.ListenerConditionConflicted, l.conflict, gwv1.ListenerReasonNoConflicts, "no other listener has the same port and host"),
	)
}

// notValid says which listeners aren't valid; "" if all are.
func notValid(listeners []*listener) string {
	var names []string
	for _, l := range listeners {
		if !l.valid() {
			names = append(names, string(l.name))
		}
	}
	if names == nil {
		return ""
	}
	return "not valid, see their conditions: " + strings.Join(names, ", ")
}

// gatewayStatus adds the status of g to the result.
func (t *translator) gatewayStatus(g *gateway) {
	own := slices.DeleteFunc(slices.Clone(g.listeners), func(l *listener) bool { return l.set != nil })
	invalid := notValid(own)
	accepted, reason, message := g.rejected, gwv1.GatewayReasonAccepted, "the Gateway is served"
	if accepted.ok() && invalid != "" {
		reason, message = gwv1.GatewayReasonListenersNotValid, invalid
		if !slices.ContainsFunc(own, (*listener).valid) {
			accepted = verdict{string(reason), invalid}
		}
	}
	addresses, programmed := t.addresses(g)
	switch {
	case !accepted.ok():
		programmed = verdict{string(gwv1.GatewayReasonInvalid), "the Gateway is not accepted"}
	case !slices.ContainsFunc(g.listeners, (*listener).programmed):
		programmed = verdict{string(gwv1.GatewayReasonPending), "no listener is served yet"}
	}
	g.programmed = programmed.ok()
	resolved := g.resolved
	if resolved.ok() && slices.ContainsFunc(own, func(l *listener) bool { return !l.resolved.ok() }) {
		resolved = verdict{string(gwv1.GatewayReasonListenersNotResolved), "listeners have references that are not resolved, see their conditions"}
	}
	status := g.object.DeepCopy()
	s := &status.Status
	s.Conditions = t.merge(s.Conditions, g.object.Generation,
		condition(gwv1.GatewayConditionAccepted, accepted, reason, message),
		condition(gwv1.GatewayConditionProgrammed, programmed, gwv1.GatewayReasonProgrammed, "the listeners are served on the addresses"),
		condition(gwv1.GatewayConditionResolvedRefs, resolved, gwv1.GatewayReasonResolvedRefs, "all references are resolved"))
	s.Addresses = addresses
	s.Listeners = make([]gwv1.ListenerStatus, 0, len(own))
	for _, l := range own {
		var old []metav1.Condition
		for i := range g.object.Status.Listeners {
			if g.object.Status.Listeners[i].Name == l.name {
				old = g.object.Status.Listeners[i].Conditions
			}
		}
		s.Listeners = append(s.Listeners, gwv1.ListenerStatus{
			Name: l.name, SupportedKinds: l.supported(), AttachedRoutes: l.attached, Conditions: t.listenerConditions(l, old, g.object.Generation),
		})
	}
	var sets int32
	for _, set := range g.sets {
		if a, _, _ := set.verdicts(); a.ok() {
			sets++
		}
	}
	s.AttachedListenerSets = &sets
	t.result.Statuses = append(t.result.Statuses, status)
}

package policy

import (
	"iter"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// toRoutes applies policies of Gateways and routes to the routes of a Result.
func (a *applier) toRoutes(r *translate.Result) {
	listeners := make(map[string]*translate.Listener, len(r.Listeners))
	for i := range r.Listeners {
		l := &r.Listeners[i]
		listeners[l.Name] = l
		a.toListener(l)
	}
	for i := range r.Routes {
		route := &r.Routes[i]
		l := listeners[route.Match.Listener]
		gateway, own := a.levels(gatewayTargets(l, route.Sections)...), a.levels(ownTargets(route)...)
		if len(gateway) > 0 || len(own) > 0 || len(a.closed) > 0 {
			a.toRoute(&route.Route, l, gateway, own)
		}
	}
}

// gatewayTargets are those by which a policy can mean all routes of a listener.
func gatewayTargets(l *translate.Listener, sections []string) []target {
	if l == nil {
		return nil
	}
	t := target{kind: kindGateway}
	switch o := l.Owner.Object.(type) {
	case *gatewayv1.Gateway:
		t.namespace, t.name = o.Namespace, o.Name
	case *gatewayv1.ListenerSet: // whose listeners are the Gateway's, but not by name
		t.namespace, t.name, sections = o.Namespace, string(o.Spec.ParentRef.Name), nil
		if ns := o.Spec.ParentRef.Namespace; ns != nil {
			t.namespace = string(*ns)
		}
	default:
		return nil
	}
	targets := []target{t}
	for _, t.section = range sections {
		targets = append(targets, t)
	}
	return targets
}

// ownTargets are those by which a policy can mean a route.
func ownTargets(r *translate.Route) []target {
	t := target{}
	switch o := r.Owner.Object.(type) {
	case *networkingv1.Ingress:
		t = target{kind: kindIngress, namespace: o.Namespace, name: o.Name}
	case *gatewayv1.HTTPRoute:
		t = target{kind: kindHTTPRoute, namespace: o.Namespace, name: o.Name}
	case *gatewayv1.TLSRoute:
		t = target{kind: kindTLSRoute, namespace: o.Namespace, name: o.Name}
	default:
		return nil
	}
	targets := []target{t}
	if t.section = r.Owner.RuleName; t.section != "" {
		targets = append(targets, t)
	}
	return targets
}

// toListener applies the policy of a Gateway to a listener whose connections need no route.
func (a *applier) toListener(l *translate.Listener) {
	if !some(l.Pools()) {
		return
	}
	for _, at := range a.levels(gatewayTargets(l, nil)...) {
		switch {
		case at.closes():
			l.Allow, l.Deny = nil, slices.Clone(everyone)
		case at.accepted():
			at.uses++
			l.Allow, l.Deny = both(l.Allow, l.Deny, at.route.Allow, at.route.Deny)
		}
	}
	if a.leadsToClosed(l.Pools()) {
		l.Allow, l.Deny = nil, slices.Clone(everyone)
	}
}

// everyone is all addresses.
var everyone = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// toRoute applies policies to a route: those of its Gateway, and its own, which win over
// what the route's object says itself. allow and deny of all of these hold together.
func (a *applier) toRoute(r *config.Route, l *translate.Listener, gateway, own []*attachment) {
	all := slices.Concat(gateway, own)
	if slices.ContainsFunc(all, (*attachment).closes) || a.leadsToClosed(r.Pools()) {
		closeRoute(r)
		return
	}
	var byGateway, byOwn config.Route
	for _, at := range gateway {
		if at.accepted() {
			at.uses++
			overlayRoute(&byGateway, &at.route)
		}
	}
	for _, at := range own {
		if at.accepted() {
			at.uses++
			overlayRoute(&byOwn, &at.route)
		}
	}
	merged := *r
	keep(&byGateway, r)
	keep(&byOwn, r)
	var settings config.Route
	for _, level := range []*config.Route{&byGateway, r, &byOwn} {
		overlayRoute(&settings, level)
	}
	settings.Allow, settings.Deny = both(byGateway.Allow, byGateway.Deny, r.Allow, r.Deny)
	settings.Allow, settings.Deny = both(settings.Allow, settings.Deny, byOwn.Allow, byOwn.Deny)
	overlayRoute(&merged, &settings)
	merged.Allow, merged.Deny = settings.Allow, settings.Deny
	merged.RequestHeaders, merged.ResponseHeaders = settings.RequestHeaders, settings.ResponseHeaders
	if len(own) == 0 && byGateway.Upgrades == nil {
		// A Gateway may have thousands of routes, and what its policy gives goes together
		// with every one, except for upgrades.
		*r = merged
		return
	}
	errs := a.checkRoute(merged, l)
	if errs == nil || a.checkRoute(*r, l) != nil { // which is the translator's fault
		*r = merged
		return
	}
	a.reject(all, "the route and its policies", errs)
	if slices.ContainsFunc(all, (*attachment).closes) {
		closeRoute(r)
	}
}

// leadsToClosed reports whether one of the pools is closed.
func (a *applier) leadsToClosed(pools iter.Seq[string]) bool {
	for pool := range pools {
		if a.closed[pool] {
			return true
		}
	}
	return false
}

// some reports whether there is one of the pools.
func some(pools iter.Seq[string]) bool {
	for range pools {
		return true
	}
	return false
}

// keep takes out of what policies give what a route of this kind can't have.
func keep(from, r *config.Route) {
	switch {
	case r.Opaque():
		*from = config.Route{Limits: from.Limits, Timeouts: from.Timeouts, Allow: from.Allow, Deny: from.Deny}
	case !some(r.Pools()): // it answers itself
		from.Upgrades, from.RequestHeaders, from.Timeouts = nil, config.HeaderEdits{}, config.RouteTimeouts{}
	}
}

// overlayRoute gives a route what another has of the keys that policies have.
func overlayRoute(into, from *config.Route) {
	if from.Auth != nil {
		into.Auth = from.Auth
	}
	if from.Origins != nil {
		into.Origins = from.Origins
	}
	if from.Upgrades != nil {
		into.Upgrades = from.Upgrades
	}
	if from.Subprotocols != nil {
		into.Subprotocols = from.Subprotocols
	}
	if from.Allow != nil {
		into.Allow = from.Allow
	}
	if from.Deny != nil {
		into.Deny = from.Deny
	}
	overlayFields(limits, reflect.ValueOf(&into.Limits).Elem(), reflect.ValueOf(&from.Limits).Elem())
	overlayFields(timeouts, reflect.ValueOf(&into.Timeouts).Elem(), reflect.ValueOf(&from.Timeouts).Elem())
	overlayHeaders(&into.RequestHeaders, &from.RequestHeaders)
	overlayHeaders(&into.ResponseHeaders, &from.ResponseHeaders)
}

// Fields of sections whose keys are merged one by one.
var (
	limits   = reflect.VisibleFields(reflect.TypeFor[config.RouteLimits]())
	timeouts = reflect.VisibleFields(reflect.TypeFor[config.RouteTimeouts]())
)

// overlayFields sets the fields of a section that another has values of.
func overlayFields(fields []reflect.StructField, into, from reflect.Value) {
	for _, f := range fields {
		if v := from.FieldByIndex(f.Index); !f.Anonymous && !v.IsZero() {
			into.FieldByIndex(f.Index).Set(v)
		}
	}
}

// overlayHeaders adds changes of header fields. Where both name a field, the later ones
// count, as those of a route do in a file.
func overlayHeaders(into, from *config.HeaderEdits) {
	names := map[string]bool{}
	for _, h := range slices.Concat(from.Set, from.Add) {
		names[strings.ToLower(h[0])] = true
	}
	for _, name := range from.Remove {
		names[strings.ToLower(name)] = true
	}
	if len(names) == 0 {
		return
	}
	without := func(list config.Headers) (rest config.Headers) {
		for _, h := range list {
			if !names[strings.ToLower(h[0])] {
				rest = append(rest, h)
			}
		}
		return rest
	}
	var removed []string
	for _, name := range into.Remove {
		if !names[strings.ToLower(name)] {
			removed = append(removed, name)
		}
	}
	*into = config.HeaderEdits{
		Set: append(without(into.Set), from.Set...), Add: append(without(into.Add), from.Add...), Remove: append(removed, from.Remove...),
	}
}

// both returns allow and deny for clients whom both of two pairs admit.
func both(allow, deny, allow2, deny2 []netip.Prefix) (_, _ []netip.Prefix) {
	denied := slices.Clone(deny)
	for _, p := range deny2 {
		if !slices.Contains(denied, p) {
			denied = append(denied, p)
		}
	}
	if allow == nil || allow2 == nil {
		return slices.Concat(allow, allow2), denied
	}
	var admitted []netip.Prefix
	for _, p := range allow {
		for _, q := range allow2 {
			if !p.Overlaps(q) {
				continue
			}
			narrow := p // which the other has in it
			if p.Bits() < q.Bits() {
				narrow = q
			}
			if !slices.Contains(admitted, narrow) {
				admitted = append(admitted, narrow)
			}
		}
	}
	if admitted == nil {
		return nil, slices.Clone(everyone)
	}
	return admitted, denied
}

// closeRoute lets nobody in. Requests are answered, so that clients try again.
func closeRoute(r *config.Route) {
	if r.Opaque() {
		r.Allow, r.Deny = nil, slices.Clone(everyone)
		return
	}
	*r = config.Route{Match: r.Match, Respond: &config.Respond{Status: 503, ContentType: "text/plain; charset=utf-8", Body: "A policy of this route is invalid.\n"}}
}

// checkRoute checks a route on a listener like its own.
func (a *applier) checkRoute(r config.Route, l *translate.Listener) error {
	mode := config.ModeHTTP
	if l != nil && l.Mode != "" {
		mode = l.Mode
	}
	c := stub(a.Forwarded, mode)
	c.Listeners[0].Name = r.Match.Listener
	c.Routes = []config.Route{r}
	seen := map[string]bool{}
	for name := range r.Pools() {
		if !seen[name] {
			seen[name] = true
			p := config.NewPool(name)
			p.Feed = name
			c.Pools = append(c.Pools, p)
		}
	}
	if err := c.Validate(); err != nil {
		return err
	}
	return nil
}

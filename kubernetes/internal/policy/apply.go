// Package policy applies HoldfastPolicies to what the translators made of Services and
// routes, and says in their status what became of them.
//
// Policies are written by users of a namespace, and the balancer is shared. So a policy
// can't name files or environment variables, can't have the balancer ask other hosts than
// Services of its own namespace, and can't take more memory than a few constants allow
// (untrusted.go). An invalid policy changes nothing, except that routes that it should
// guard are closed until it is right.
package policy

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/kubernetes/api/v1alpha1"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// Options say how policies are applied.
type Options struct {
	// Controller is the name of the controller in the status of policies.
	Controller string
	// AnyURLs permits policies to have the balancer ask any host about clients, and not
	// only Services of their own namespace.
	AnyURLs bool
	// Forwarded is that of the whole configuration, which header templates depend on.
	Forwarded config.Forwarded
	// Now is when a condition changed that does so by this Apply.
	Now metav1.Time
	// Cache, if it isn't nil, keeps what was read from policies until the next Apply.
	Cache *Cache
}

// Cache has the settings of policies that a Snapshot shares with the one before. It is for
// one goroutine.
type Cache struct {
	settings map[*v1alpha1.HoldfastPolicy]*settings
	// What they were read with.
	anyURLs   bool
	forwarded config.Forwarded
}

// Kinds of targets.
const (
	kindService   = "Service"
	kindIngress   = "Ingress"
	kindGateway   = "Gateway"
	kindHTTPRoute = "HTTPRoute"
	kindTLSRoute  = "TLSRoute"
)

// groups are the API groups of the kinds.
var groups = map[string]string{
	kindService: "", kindIngress: networkingv1.GroupName,
	kindGateway: gatewayv1.GroupName, kindHTTPRoute: gatewayv1.GroupName, kindTLSRoute: gatewayv1.GroupName,
}

// target is what a policy is attached to.
type target struct {
	kind, namespace, name string
	section               string // "" is the whole object
}

// attachment is a policy at one of its targets.
type attachment struct {
	*settings
	policy *v1alpha1.HoldfastPolicy
	target target

	reason  gatewayv1.PolicyConditionReason
	message string
	uses    int // pools and routes that it holds for
}

// fail says why the policy doesn't hold for the target, the first time it is called.
func (at *attachment) fail(reason gatewayv1.PolicyConditionReason, format string, args ...any) {
	if at.reason == gatewayv1.PolicyReasonAccepted {
		at.reason, at.message = reason, fmt.Sprintf(format, args...)
	}
}

// reject fails policies that don't go together with other settings.
func (a *applier) reject(list []*attachment, whose string, err error) {
	for _, at := range list {
		if at.accepted() {
			at.fail(gatewayv1.PolicyReasonInvalid, "it doesn't go together with what else %s say: %s", whose, shown(err))
			a.failed = true
		}
	}
}

func (at *attachment) accepted() bool { return at.reason == gatewayv1.PolicyReasonAccepted }

// closes reports whether routes that the policy should guard must be closed.
func (at *attachment) closes() bool {
	return at.reason == gatewayv1.PolicyReasonInvalid && at.guarding()
}

type applier struct {
	Options
	snapshot *cluster.Snapshot
	read     map[*v1alpha1.HoldfastPolicy]*settings // for the Cache

	attachments []*attachment          // in the order of policies and targets
	by          map[target]*attachment // the one that counts
	results     []*translate.Result
	closed      map[string]bool // pools whose Services have policies that should guard them
	failed      bool            // a policy that was accepted doesn't go together with something
}

// Apply changes the pools and routes of results as the policies of a Snapshot say. The
// Result has the policies' statuses and events.
//
// Of several policies for one target, the oldest counts (GEP-713). For a pool, the policy of
// a Service's port wins over that of the Service; for a route, that of its rule over that of
// the route, and that over the ones of the Gateway's listener and the Gateway.
func Apply(s *cluster.Snapshot, o Options, results []*translate.Result) *translate.Result {
	if o.Cache == nil {
		o.Cache = &Cache{}
	}
	if c := o.Cache; c.anyURLs != o.AnyURLs || !reflect.DeepEqual(c.forwarded, o.Forwarded) {
		*c = Cache{anyURLs: o.AnyURLs, forwarded: o.Forwarded}
	}
	results = slices.DeleteFunc(slices.Clone(results), func(r *translate.Result) bool { return r == nil })
	a := &applier{Options: o, snapshot: s, by: map[target]*attachment{}, results: results, closed: map[string]bool{}}
	a.read = make(map[*v1alpha1.HoldfastPolicy]*settings, len(s.Policies))
	policies := slices.Clone(s.Policies)
	slices.SortStableFunc(policies, func(x, y *v1alpha1.HoldfastPolicy) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	for _, p := range policies {
		a.attach(p)
	}
	o.Cache.settings = a.read
	if len(a.attachments) > 0 {
		a.apply()
	}
	return a.report(s.Policies)
}

// maxPasses bounds how often apply begins anew.
const maxPasses = 5

// apply changes the results. A policy that turns out not to go together with something
// changes nothing at all, so everything is done anew without it. A user could write
// policies that take as many passes as there are policies; in the last one, they are only
// left out where they don't fit.
func (a *applier) apply() {
	before := make([]translate.Result, len(a.results))
	for i, r := range a.results {
		before[i] = translate.Result{Listeners: slices.Clone(r.Listeners), Routes: slices.Clone(r.Routes), Pools: slices.Clone(r.Pools)}
	}
	for pass := range maxPasses {
		a.failed = false
		clear(a.closed)
		for _, at := range a.attachments {
			at.uses = 0
		}
		for _, r := range a.results {
			for i := range r.Pools {
				a.toPool(r, &r.Pools[i])
			}
		}
		for _, r := range a.results {
			a.toRoutes(r)
		}
		if !a.failed || pass == maxPasses-1 {
			return
		}
		for i, r := range a.results {
			copy(r.Listeners, before[i].Listeners)
			copy(r.Routes, before[i].Routes)
			copy(r.Pools, before[i].Pools)
		}
	}
}

// attach attaches a policy to its targets.
func (a *applier) attach(p *v1alpha1.HoldfastPolicy) {
	kinds := map[string]bool{}
	for _, ref := range p.Spec.TargetRefs {
		kinds[string(ref.Kind)] = true
	}
	s := a.Cache.settings[p]
	if s == nil {
		s = a.settings(p, kinds)
	}
	if !s.depends {
		a.read[p] = s
	}
	seen := map[target]bool{}
	for i, ref := range p.Spec.TargetRefs {
		t := target{kind: string(ref.Kind), namespace: p.Namespace, name: string(ref.Name)}
		if ref.SectionName != nil {
			t.section = string(*ref.SectionName)
		}
		if i >= v1alpha1.MaxTargets || seen[t] {
			continue // which the API server refuses, or the same again
		}
		seen[t] = true
		at := &attachment{settings: s, policy: p, target: t, reason: gatewayv1.PolicyReasonAccepted}
		a.attachments = append(a.attachments, at)
		if group, ok := groups[t.kind]; !ok || group != string(ref.Group) {
			at.fail(gatewayv1.PolicyReasonInvalid, "a %s of the group %s can't have a policy: the kinds are %s", hint.Quote(string(ref.Kind)), hint.Quote(string(ref.Group)), strings.Join([]string{kindService, kindIngress, kindGateway, kindHTTPRoute, kindTLSRoute}, ", "))
			continue
		}
		if missing := a.missing(t); missing != "" {
			at.fail(gatewayv1.PolicyReasonTargetNotFound, "%s", missing)
			continue
		}
		if older := a.by[t]; older != nil {
			at.fail(gatewayv1.PolicyReasonConflicted, "the policy %s is older and has this target, too: put the settings into one, or choose other targets", older.policy.Name)
			continue
		}
		a.by[t] = at
		a.fits(at)
	}
}

// fits checks whether the target can have what the policy gives.
func (a *applier) fits(at *attachment) {
	if at.problem != "" {
		at.fail(gatewayv1.PolicyReasonInvalid, "%s", at.problem)
		return
	}
	if at.target.kind != kindTLSRoute {
		return
	}
	for _, key := range routeKeys {
		if at.given[key] && !slices.Contains(opaqueKeys, key) {
			at.fail(gatewayv1.PolicyReasonInvalid, "spec.%s: this is about requests, which the balancer doesn't see in TLS that it passes on: a TLSRoute can have %s", key, strings.Join(opaqueKeys, ", "))
			return
		}
	}
}

// missing says what there isn't of a target; "" if it is all there.
func (a *applier) missing(t target) string {
	var found bool
	var sections []string
	switch t.kind {
	case kindService:
		if o := a.snapshot.Service(t.namespace, t.name); o != nil {
			found = true
			for _, port := range o.Spec.Ports {
				sections = append(sections, port.Name)
			}
		}
	case kindIngress:
		found = named(a.snapshot.Ingresses, t) != nil
	case kindGateway:
		if o := named(a.snapshot.Gateways, t); o != nil {
			found = true
			for _, l := range o.Spec.Listeners {
				sections = append(sections, string(l.Name))
			}
		}
	case kindHTTPRoute:
		if o := named(a.snapshot.HTTPRoutes, t); o != nil {
			found = true
			for _, rule := range o.Spec.Rules {
				if rule.Name != nil {
					sections = append(sections, string(*rule.Name))
				}
			}
		}
	case kindTLSRoute:
		if o := named(a.snapshot.TLSRoutes, t); o != nil {
			found = true
			for _, rule := range o.Spec.Rules {
				if rule.Name != nil {
					sections = append(sections, string(*rule.Name))
				}
			}
		}
	}
	switch {
	case !found:
		return fmt.Sprintf("there is no %s %s in the namespace %s", t.kind, hint.Quote(t.name), t.namespace)
	case t.section == "" || slices.Contains(sections, t.section):
		return ""
	case t.kind == kindIngress:
		return "an Ingress has no sections: leave sectionName out"
	case len(sections) == 0:
		return fmt.Sprintf("the %s %s has no named sections: leave sectionName out", t.kind, hint.Quote(t.name))
	}
	return fmt.Sprintf("the %s %s has no section %s: there are %s", t.kind, hint.Quote(t.name), hint.Quote(t.section), strings.Join(sections, ", "))
}

// named finds an object in a list that is sorted by namespace and name.
func named[T interface {
	comparable
	metav1.Object
}](list []T, t target) (none T) {
	i, ok := slices.BinarySearchFunc(list, t, func(o T, t target) int {
		return cmp.Or(cmp.Compare(o.GetNamespace(), t.namespace), cmp.Compare(o.GetName(), t.name))
	})
	if !ok {
		return none
	}
	return list[i]
}

// levels returns the attachments at targets, the one that wins last.
func (a *applier) levels(targets ...target) (list []*attachment) {
	for _, t := range targets {
		if at := a.by[t]; at != nil {
			list = append(list, at)
		}
	}
	return list
}

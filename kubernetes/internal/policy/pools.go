package policy

import (
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// toPool applies the policies of a pool's Service to it.
func (a *applier) toPool(r *translate.Result, p *translate.Pool) {
	if p.Service.Name == "" {
		return
	}
	of := target{kind: kindService, namespace: p.Service.Namespace, name: p.Service.Name}
	targets := []target{of}
	if service := a.snapshot.Service(of.namespace, of.name); service != nil {
		if of.section = portName(service, p.Feed); of.section != "" {
			targets = append(targets, of)
		}
	}
	changed, before := false, p.Pool
	levels := a.levels(targets...)
	for _, at := range levels {
		if at.closes() && !at.forRoutes() {
			a.closed[p.Name] = true // the guards of its routes are at the wrong target
		}
		if !at.accepted() {
			continue
		}
		at.uses++
		overlayPool(&p.Pool, at.settings, ownAffinity(&before))
		changed = true
	}
	if !changed {
		return
	}
	errs := a.checkPool(r, p.Pool)
	if errs == nil || a.checkPool(r, before) != nil { // which is the translator's fault
		return
	}
	p.Pool = before
	a.reject(levels, "the Service's routes and policies", errs)
}

// forRoutes reports whether the policy has a target of a kind that its guards are for.
func (at *attachment) forRoutes() bool {
	for _, ref := range at.policy.Spec.TargetRefs {
		if ref.Kind != kindService {
			return true
		}
	}
	return false
}

// portName is the name of the Service's port that a feed is of; "" if it has none.
func portName(service *corev1.Service, feed string) string {
	_, number, ok := translate.ParseFeed(feed)
	for _, port := range service.Spec.Ports {
		if ok && port.Port == number {
			return port.Name
		}
	}
	return ""
}

// ownAffinity reports whether a route says itself how clients come back to their backend:
// by its session persistence (GEP-1619) or an annotation. A Service's sessionAffinity, by
// addresses, isn't the route's.
func ownAffinity(p *config.Pool) bool {
	t := p.Affinity.Token
	return p.Affinity.Cookie != nil || t != nil && !(len(t.From) == 1 && t.From[0] == requestkey.ClientIP)
}

// overlayPool gives a pool what a policy gives. sticky keeps its affinity.
func overlayPool(p *config.Pool, s *settings, sticky bool) {
	from := fieldsOf(reflect.ValueOf(&s.pool).Elem(), s.given)
	for key, into := range fieldsOf(reflect.ValueOf(p).Elem(), s.given) {
		if key == "affinity" && sticky {
			continue
		}
		into.Set(from[key])
	}
	if s.given["balance"] && !s.given["hash"] {
		p.Hash = s.pool.Hash // that of an annotation isn't for another algorithm
	}
}

// checkPool checks a pool in the use that is made of it.
func (a *applier) checkPool(r *translate.Result, p config.Pool) error {
	c := stub(a.Forwarded, config.ModeHTTP)
	c.Pools, c.Routes = []config.Pool{p}, []config.Route{{Pool: p.Name}}
	for i := range r.Listeners {
		if l := &r.Listeners[i]; l.Opaque() && slices.Contains(slices.Collect(l.Pools()), p.Name) {
			c.Listeners = append(c.Listeners, config.Listener{Name: "tcp", Mode: config.ModeTCP, Pool: p.Name})
			c.Listeners[1].Address.Port = 2
			break
		}
	}
	if err := c.Validate(); err != nil {
		return err
	}
	return nil
}

// Package program makes one configuration of what the translators made of a cluster.
//
// Build is a pure function: it reads no clock, no network and no files. If the
// configuration has errors, the objects that they come from are left out, and the others
// are served: nobody's mistake costs somebody else's routes.
package program

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"runtime/debug"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// Options are what a Plan depends on beside the Snapshot.
type Options struct {
	// Base has everything but listeners, routes and pools. It isn't changed.
	Base *config.Config
	// Translators are called in this order, each with the same Snapshot.
	Translators []func(*cluster.Snapshot) *translate.Result
	// Policies changes pools and routes of the results; nil changes nothing.
	Policies func(*cluster.Snapshot, []*translate.Result) *translate.Result
	// Proxies are believed to say by the PROXY protocol who a client is, on all
	// listeners; empty means that none is expected.
	Proxies []config.Peer
	// TicketSecret is for listeners with TLS that have none of their own, so that all
	// replicas resume each other's sessions of TLS; "" leaves them apart.
	TicketSecret string
}

// Plan is what follows from a Snapshot.
type Plan struct {
	// Config has been validated. It belongs to the caller.
	Config *config.Config
	// Feeds are the lists of backends that the pools follow, sorted.
	Feeds []string
	// Statuses, Events and Services are for the leader.
	Statuses []client.Object
	Events   []translate.Event
	Services []*corev1.Service

	parts *parts
}

// Builder makes Plans. If a translator panics, a mistake of ours that some object has
// found, what it made last stands in for its result: such an object must not hold up
// everybody else, nor end their sessions. The zero Builder is ready for use.
type Builder struct {
	Log  *slog.Logger // nil means no log
	last map[int]*translate.Result
}

// Build makes one Plan.
func Build(s *cluster.Snapshot, o Options) (*Plan, error) { return new(Builder).Build(s, o) }

// Build makes a Plan. If it returns an error, nothing can be served that way, and what
// was served before should go on.
func (b *Builder) Build(s *cluster.Snapshot, o Options) (_ *Plan, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a mistake in holdfast: %v\n%s", p, debug.Stack())
		}
	}()
	p := &parts{options: o}
	var results []*translate.Result
	for i, translator := range o.Translators {
		results = append(results, b.translate(i, s, translator))
	}
	if o.Policies != nil {
		p.add(o.Policies(s, results))
	}
	for _, r := range results {
		p.add(r)
	}
	p.dedupe()
	return p.plan()
}

// translate calls a translator.
func (b *Builder) translate(i int, s *cluster.Snapshot, translator func(*cluster.Snapshot) *translate.Result) (r *translate.Result) {
	defer func() {
		p := recover()
		switch {
		case p == nil:
			if b.last == nil {
				b.last = map[int]*translate.Result{}
			}
			b.last[i] = copyOf(r)
		case b.last[i] == nil:
			panic(p)
		default:
			if b.Log != nil {
				b.Log.Error("a mistake in holdfast: of one kind of objects, no change is used until it works again", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			}
			// Statuses and Services of older objects would be wrong.
			r = copyOf(b.last[i])
			r.Statuses, r.Events = nil, nil
		}
	}()
	return translator(s)
}

// copyOf copies what policies and Validate change in a result.
func copyOf(r *translate.Result) *translate.Result {
	if r == nil {
		return &translate.Result{}
	}
	copied := *r
	copied.Listeners, copied.Routes, copied.Pools = slices.Clone(r.Listeners), slices.Clone(r.Routes), slices.Clone(r.Pools)
	for i := range copied.Listeners {
		deepen(reflect.ValueOf(&copied.Listeners[i].Listener).Elem())
	}
	for i := range copied.Routes {
		deepen(reflect.ValueOf(&copied.Routes[i].Route).Elem())
	}
	for i := range copied.Pools {
		deepen(reflect.ValueOf(&copied.Pools[i].Pool).Elem())
	}
	return &copied
}

// parts are those of a configuration, with their owners.
type parts struct {
	options   Options
	listeners []translate.Listener
	routes    []route
	pools     []translate.Pool
	exempt    []netip.Prefix
	statuses  []client.Object
	events    []translate.Event
	services  []*corev1.Service
}

// route is a route with what was done about its errors.
type route struct {
	translate.Route
	refused bool // it answers 500 by now
}

func (p *parts) add(r *translate.Result) {
	if r == nil {
		return
	}
	p.listeners = append(p.listeners, r.Listeners...)
	for _, one := range r.Routes {
		p.routes = append(p.routes, route{Route: one})
	}
	p.pools = append(p.pools, r.Pools...)
	p.exempt = append(p.exempt, r.Exempt...)
	p.statuses = append(p.statuses, r.Statuses...)
	p.events = append(p.events, r.Events...)
	p.services = append(p.services, r.Services...)
}

// dedupe leaves one of several equal pools.
func (p *parts) dedupe() {
	first := map[string]*config.Pool{}
	kept := p.pools[:0:0]
	for i := range p.pools {
		one := &p.pools[i]
		if before := first[one.Name]; before != nil && reflect.DeepEqual(*before, one.Pool) {
			continue
		}
		first[one.Name] = &one.Pool
		kept = append(kept, *one)
	}
	p.pools = kept
}

// plan validates the parts, and leaves out what is at fault until the rest is valid.
func (p *parts) plan() (*Plan, error) {
	for {
		c := p.config()
		err := c.Validate()
		if err == nil {
			c.Warnings = slices.DeleteFunc(c.Warnings, func(w config.Error) bool { return p.owns(w.Path) })
			return &Plan{Config: c, Feeds: p.feeds(), Statuses: p.statuses, Events: p.events, Services: p.services, parts: p}, nil
		}
		if !p.leaveOut(err) {
			return nil, fmt.Errorf("the configuration can't be used: %w", err)
		}
	}
}

// Without makes a Plan without what is at fault for an error of Reload. ok is false if the
// error doesn't say what that is.
func (p *Plan) Without(err error) (_ *Plan, ok bool) {
	if !p.parts.leaveOut(err) {
		return nil, false
	}
	next, err := p.parts.plan()
	return next, err == nil
}

// config puts the parts together.
func (p *parts) config() *config.Config {
	c := clone(p.options.Base)
	c.Listeners, c.Routes, c.Pools = nil, nil, nil
	for _, l := range p.listeners {
		one := l.Listener
		if len(p.options.Proxies) > 0 && one.ProxyProtocol == nil {
			one.ProxyProtocol = &config.ProxyProtocol{Trust: slices.Clone(p.options.Proxies)}
		}
		if one.TLS != nil && one.TLS.TicketSecret == "" {
			tls := *one.TLS
			tls.TicketSecret = p.options.TicketSecret
			one.TLS = &tls
		}
		c.Listeners = append(c.Listeners, one)
	}
	if len(c.Listeners) == 0 {
		// A configuration needs one.
		c.Listeners = []config.Listener{{Name: "nothing", Address: config.Address{IP: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}}
	}
	for i := range p.routes {
		c.Routes = append(c.Routes, p.routes[i].Route.Route)
	}
	if c.HasHTTP() {
		// Without a route for requests, a configuration's only pool would get them all.
		c.Routes = append(c.Routes, config.Route{Respond: respond(404)})
	}
	for i := range p.pools {
		c.Pools = append(c.Pools, p.pools[i].Pool)
	}
	c.Limits.Exempt = append(c.Limits.Exempt, p.exempt...)
	return c
}

func respond(status int) *config.Respond {
	r := &config.Respond{}
	r.SetDefaults()
	r.Status = status
	return r
}

func (p *parts) feeds() (all []string) {
	for i := range p.pools {
		if feed := p.pools[i].Feed; feed != "" {
			all = append(all, feed)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// LogValue implements slog.LogValuer.
func (p *Plan) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("listeners", len(p.Config.Listeners)), slog.Int("routes", len(p.Config.Routes)), slog.Int("pools", len(p.Config.Pools)))
}

// errorsOf lists the errors of a configuration in err.
func errorsOf(err error) config.Errors {
	var all config.Errors
	if errors.As(err, &all) {
		return all
	}
	var one config.Error
	if errors.As(err, &one) {
		return config.Errors{one}
	}
	return nil
}

package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/kubernetes/api/v1alpha1"
)

// poolKeys are the keys of a pool that a policy may have, routeKeys those of a route.
var (
	poolKeys = []string{"balance", "hash", "max_sessions", "affinity", "health", "drain", "admit", "retry_on", "reattach", "rebalance", "proxy_protocol"}

	routeKeys = []string{"auth", "upgrades", "limits", "request_headers", "response_headers", "timeouts", "allow", "deny", "origins", "subprotocols"}

	// opaqueKeys are those of a route whose requests the balancer doesn't see.
	opaqueKeys = []string{"limits", "timeouts", "allow", "deny"}

	// guards are keys of a route that keep clients out. A route whose guards can't be read
	// is closed.
	guards = []string{"auth", "allow", "deny", "origins"}
)

// elsewhere says where the keys of pools and routes are that no policy may have.
var elsewhere = map[string]string{
	"backends": "the backends are the pods of the Service: leave it out",
	"dns":      "the backends are the pods of the Service: leave it out",
	"aws":      "the backends are the pods of the Service: leave it out",
	"file":     "the backends are the pods of the Service: leave it out",
	"tls":      "TLS to pods is said by a BackendTLSPolicy, or by an annotation of the Ingress: leave it out",
	"match":    "which requests it gets is said by the route itself: leave it out",
	"pool":     "where its requests go is said by the route itself: leave it out",
	"split":    "where its requests go is said by the route itself: leave it out",
	"redirect": "redirects are said by the route itself, by a filter or an annotation: leave it out",
	"respond":  "what answers its requests is said by the route itself: leave it out",
	"rewrite":  "rewrites are said by the route itself, by a filter or an annotation: leave it out",
}

// maxSettings bounds the settings of a policy, in bytes: each route that it holds for has
// them.
const maxSettings = 32 << 10

// The paths of what is checked. Users see "spec." in their place.
const (
	poolPath  config.Path = "pools.policy"
	routePath config.Path = "routes[0]"
)

// settings is what a policy says.
type settings struct {
	given map[string]bool // keys, also of what can't be read
	pool  config.Pool     // with defaults for what isn't given
	route config.Route
	// problem is why the policy can't be used; "" if it can.
	problem  string
	warnings []string
	// depends: other objects were asked about, so that it may change with them.
	depends bool
}

// guarding reports whether a key keeps clients out.
func (s *settings) guarding() bool {
	return slices.ContainsFunc(guards, func(key string) bool { return s.given[key] })
}

// has reports whether one of the keys is given.
func (s *settings) has(keys []string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { return s.given[key] })
}

// documents splits the settings into those of a pool and those of a route, as JSON.
func documents(text []byte) (pool, route map[string]any, given map[string]bool, problem string) {
	given = map[string]bool{}
	if len(text) > maxSettings {
		return nil, nil, given, fmt.Sprintf("spec: the settings are longer than %d bytes", maxSettings)
	}
	all := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if len(text) > 0 {
		if err := d.Decode(&all); err != nil {
			return nil, nil, given, "spec: not a JSON object: " + err.Error()
		}
	}
	// YAML 1.1, which kubectl reads, takes an unquoted "on" as a key for true.
	if reattach, ok := all["reattach"].(map[string]any); ok {
		if on, ok := reattach["true"]; ok && reattach["on"] == nil {
			reattach["on"] = on
			delete(reattach, "true")
		}
	}
	pool, route = map[string]any{}, map[string]any{}
	var problems []string
	known := slices.Concat(poolKeys, routeKeys)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		given[key] = true
		switch {
		case slices.Contains(poolKeys, key):
			pool[key] = all[key]
		case slices.Contains(routeKeys, key):
			route[key] = all[key]
		case elsewhere[key] != "":
			problems = append(problems, fmt.Sprintf("spec.%s: %s", key, elsewhere[key]))
		default:
			// It may be a guard that is misspelt.
			if near := hint.Nearest(key, known); near != "" {
				given[near] = true
			}
			problems = append(problems, fmt.Sprintf("spec: unknown key %s%s", hint.Quote(key), hint.DidYouMean(key, known)))
		}
	}
	return pool, route, given, strings.Join(problems, "\n")
}

// settings reads the settings of a policy. kinds are those of its targets.
func (a *applier) settings(p *v1alpha1.HoldfastPolicy, kinds map[string]bool) *settings {
	poolDoc, routeDoc, given, problem := documents(p.Spec.Settings)
	s := &settings{given: given, problem: problem}
	s.pool.Name = "policy"
	s.pool.SetDefaults()
	if problem != "" {
		return s
	}
	keys := keyReferenceOf(p.Namespace, routeDoc)
	pool, err := part(poolPath, poolDoc, nil, &s.pool)
	if err == nil {
		var route *yaml.File
		if route, err = part(routePath, routeDoc, keys, &s.route); err == nil {
			more := a.keysInMemory(p.Namespace, s, keys)
			if c := s.pool.Affinity.Cookie; c != nil {
				more = append(more, a.cookieSecret(p.Namespace, s, c)...)
			}
			more = append(more, a.excess(p.Namespace, s)...)
			s.warnings, err = a.check(s, pool, route, more)
		}
	}
	switch {
	case err != nil:
		s.problem = shown(err)
	case len(given) == 0:
		s.problem = "spec: the policy says nothing: write for example drain: {timeout: 60s}"
	case s.has(poolKeys) && !kinds[kindService]:
		s.problem = fmt.Sprintf("spec.%s: this is a key of a pool: a target of the kind Service can have it", s.first(poolKeys))
	case s.has(routeKeys) && len(kinds) == 1 && kinds[kindService]:
		s.problem = fmt.Sprintf("spec.%s: this is a key of a route: a target of the kind HTTPRoute, TLSRoute, Ingress or Gateway can have it", s.first(routeKeys))
	}
	return s
}

// first returns the first of the keys that is given.
func (s *settings) first(keys []string) string {
	return keys[slices.IndexFunc(keys, func(key string) bool { return s.given[key] })]
}

// part reads one of the two documents. keys, if they aren't nil, are in the place of a file.
func part(p config.Path, doc map[string]any, keys *keyReference, section any) (*yaml.File, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	// Files are those of the balancer, which users of a namespace must not be able to read.
	refuse := func(p config.Path, k *config.Key) string {
		switch {
		case !k.IsPath(), keys != nil && p == keys.at():
			return ""
		case k.Name == "ca":
			return "a policy can't name files of the balancer: the certificate must be from an authority that the balancer's system knows, or the URL without TLS"
		}
		return "a policy can't name files of the balancer: refer to a Secret or a ConfigMap of the policy's namespace, as in ${secret:NAME/KEY} or ${configmap:NAME/KEY}, or write jwks_url"
	}
	return yaml.Part{Path: p, Refuse: refuse}.Read(text.Bytes(), "a mapping of settings", section)
}

// source knows what a policy gives, of its pool and its route.
type source struct{ pool, route *yaml.File }

func (s source) file(p config.Path) *yaml.File {
	if p == poolPath || strings.HasPrefix(string(p), string(poolPath)+".") {
		return s.pool
	}
	return s.route
}

func (s source) Given(p config.Path) bool {
	return p == "listeners[0].address" || s.file(p).Given(p)
}
func (s source) OK(p config.Path) bool             { return s.file(p).OK(p) }
func (s source) Text(p config.Path) (string, bool) { return s.file(p).Text(p) }
func (s source) Place(p config.Path) config.Place  { return s.file(p).Place(p) }
func (s source) Hide(e config.Error) config.Error  { return s.route.Hide(s.pool.Hide(e)) }

// check checks the rules of the configuration, as if there were only this pool and this
// route. more are further errors.
func (a *applier) check(s *settings, pool, route *yaml.File, more []config.Error) (warnings []string, err error) {
	var r config.Report
	for _, e := range slices.Concat(pool.Report.Errors(), route.Report.Errors(), more) {
		r.Fail(e)
	}
	c := stub(a.Forwarded, config.ModeHTTP)
	c.Pools = []config.Pool{s.pool}
	c.Pools[0].Feed = s.pool.Name
	c.Routes = []config.Route{s.route}
	c.Routes[0].Pool = s.pool.Name
	config.Check(c, source{pool, route}, &r)
	if errs := r.Errors(); len(errs) > 0 {
		return nil, errs
	}
	feed := s.pool.Feed
	s.pool, s.route = c.Pools[0], c.Routes[0]
	s.pool.Feed, s.route.Pool = feed, ""
	for _, w := range r.Warnings() {
		warnings = append(warnings, spec(w))
	}
	return warnings, nil
}

// stub is a configuration to check a pool or a route in.
func stub(f config.Forwarded, mode string) *config.Config {
	c := config.Defaults()
	c.Forwarded = f
	c.Listeners = []config.Listener{{Name: "policy", Mode: mode}}
	c.Listeners[0].Address.Port = 1
	return &c
}

// spec is an error with the path that it has in the policy.
func spec(e config.Error) string {
	inSpec := strings.NewReplacer(string(poolPath)+".", "spec.", string(routePath)+".", "spec.", string(poolPath), "spec", string(routePath), "spec")
	return inSpec.Replace(string(e.Path)) + ": " + inSpec.Replace(e.Msg)
}

// maxProblems bounds how many errors of a policy are reported.
const maxProblems = 10

// shown is an error for the status of a policy.
func shown(err error) string {
	errs, ok := err.(config.Errors)
	if !ok {
		return "spec: " + err.Error()
	}
	var lines []string
	for i, e := range errs {
		if i == maxProblems {
			lines = append(lines, fmt.Sprintf("and %d more", len(errs)-i))
			break
		}
		lines = append(lines, spec(e))
	}
	return strings.Join(lines, "\n")
}

// fieldsOf returns the fields of the keys of a section that are given.
func fieldsOf(section reflect.Value, given map[string]bool) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	keys := config.KeysOf(section.Type())
	for i := range keys {
		if given[keys[i].Name] {
			fields[keys[i].Name] = keys[i].Field(section)
		}
	}
	return fields
}

// Keys lists the keys that policies may have.
func Keys() []string { return slices.Concat(poolKeys, routeKeys) }

// Kinds lists the kinds of targets, and their groups.
func Kinds() (kinds, all []string) {
	kinds = slices.Sorted(maps.Keys(groups))
	for _, kind := range kinds {
		if !slices.Contains(all, groups[kind]) {
			all = append(all, groups[kind])
		}
	}
	slices.Sort(all)
	return kinds, all
}

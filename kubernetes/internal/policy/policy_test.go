package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
	"github.com/holdfast-ws/holdfast/kubernetes/api/v1alpha1"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// objects is what the tests' policies are about.
const objects = `
apiVersion: v1
kind: Service
metadata: {name: chat, namespace: default}
spec: {selector: {app: chat}, ports: [{name: ws, port: 80}, {name: admin, port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: auth, namespace: default}
spec: {selector: {app: auth}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: default}
spec: {type: ExternalName, externalName: example.com}
---
apiVersion: v1
kind: Service
metadata: {name: byhand, namespace: default}
spec: {ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: auth, namespace: other}
spec: {selector: {app: auth}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Secret
metadata: {name: cookies, namespace: default}
data: {key: "MFhMaTNYemdJcWY3UW5TMlZrQ1ZpUQo=", short: "YWJj"}
---
apiVersion: v1
kind: Secret
metadata: {name: tokens, namespace: default}
data: {hmac: "MFhMaTNYemdJcWY3UW5TMlZrQ1ZpUTBYTGkzWHpnSXFmN1FuUzJWa0NWaVEK"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: keys, namespace: default}
data:
  jwks.json: '{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
  wrong: "this is secret"
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: default}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: default}
spec: {gatewayClassName: holdfast, listeners: [{name: http, port: 80, protocol: HTTP}, {name: internal, port: 80, protocol: HTTP, hostname: internal.example.com}, {name: mqtt, port: 1883, protocol: TCP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: chat, namespace: default}
spec: {rules: [{name: ws}, {name: api}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: through, namespace: default}
spec: {rules: [{name: one}]}
`

// policy is the YAML of one.
func policyYAML(name, targets, spec string) string {
	return fmt.Sprintf("---\napiVersion: holdfast.dev/v1alpha1\nkind: HoldfastPolicy\nmetadata: {name: %s, namespace: default, generation: 3}\nspec:\n  targetRefs: [%s]\n%s\n",
		name, targets, indent(spec))
}

func indent(s string) string { return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ") }

// Targets.
const (
	service   = `{group: "", kind: Service, name: chat}`
	port      = `{group: "", kind: Service, name: chat, sectionName: ws}`
	ingress   = `{group: networking.k8s.io, kind: Ingress, name: shop}`
	gateway   = `{group: gateway.networking.k8s.io, kind: Gateway, name: front}`
	listener  = `{group: gateway.networking.k8s.io, kind: Gateway, name: front, sectionName: internal}`
	httpRoute = `{group: gateway.networking.k8s.io, kind: HTTPRoute, name: chat}`
	rule      = `{group: gateway.networking.k8s.io, kind: HTTPRoute, name: chat, sectionName: ws}`
	tlsRoute  = `{group: gateway.networking.k8s.io, kind: TLSRoute, name: through}`
)

var now = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

func snapshot(t testing.TB, manifests ...string) *cluster.Snapshot {
	t.Helper()
	s, err := cluster.FromYAML(append([]string{objects}, manifests...)...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// results is what translators would make of objects: routes "shop" (Ingress), "ws", "api"
// (rules of the HTTPRoute), "internal" (the same, by the other listener), "through", and
// pools "ws" and "admin" of the Service's ports.
func results(s *cluster.Snapshot) []*translate.Result {
	httpRoute, tls, gw, ing := s.HTTPRoutes[0], s.TLSRoutes[0], s.Gateways[0], s.Ingresses[0]
	pool := func(name string, port int32, owner client.Object) translate.Pool {
		p := config.NewPool(name)
		p.Feed = translate.Feed("default", "chat", port)
		return translate.Pool{Pool: p, Service: types.NamespacedName{Namespace: "default", Name: "chat"}, Owner: translate.Owner{Object: owner}}
	}
	route := func(on, host, pool string, owner translate.Owner, sections ...string) translate.Route {
		r := translate.Route{Owner: owner, Sections: sections}
		r.Match.Listener, r.Pool = on, pool
		r.Match.Host = must(pattern.ParseHost(host))
		return r
	}
	ws := translate.Owner{Object: httpRoute, RuleName: "ws"}
	through := translate.Route{Owner: translate.Owner{Object: tls, RuleName: "one"}}
	through.Match.Listener, through.Match.SNI, through.Pool = "gateway/default/front/443", must(pattern.ParseHost("through.example.com")), "ws"
	of := func(l config.Listener, o client.Object) translate.Listener {
		return translate.Listener{Listener: l, Owner: translate.Owner{Object: o}}
	}
	return []*translate.Result{{
		Listeners: []translate.Listener{of(config.Listener{Name: "ingress/http"}, nil)},
		Routes:    []translate.Route{route("ingress/http", "shop.example.com", "ws", translate.Owner{Object: ing})},
		Pools:     []translate.Pool{pool("ws", 80, ing)},
	}, {
		Listeners: []translate.Listener{
			of(config.Listener{Name: "gateway/default/front/80"}, gw),
			of(config.Listener{Name: "gateway/default/front/443", Mode: config.ModePassthrough}, gw),
			of(config.Listener{Name: "gateway/default/front/1883", Mode: config.ModeTCP, Pool: "admin"}, gw),
		},
		Routes: []translate.Route{
			route("gateway/default/front/80", "internal.example.com", "ws", ws, "internal"),
			route("gateway/default/front/80", "ws.example.com", "ws", ws, "http"),
			route("gateway/default/front/80", "api.example.com", "admin", translate.Owner{Object: httpRoute, Rule: 1, RuleName: "api"}, "http"),
			through,
		},
		Pools: []translate.Pool{pool("ws", 80, httpRoute), pool("admin", 81, httpRoute)},
	}}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// applied is what became of policies.
type applied struct {
	t       testing.TB
	results []*translate.Result
	result  *translate.Result
}

func apply(t testing.TB, policies ...string) *applied {
	t.Helper()
	s := snapshot(t, policies...)
	return applyTo(t, s, results(s), Options{})
}

func applyTo(t testing.TB, s *cluster.Snapshot, r []*translate.Result, o Options) *applied {
	t.Helper()
	before, _ := json.Marshal(s)
	o.Controller, o.Now, o.Forwarded = "holdfast.dev/gateway", now, config.Defaults().Forwarded
	a := &applied{t, r, Apply(s, o, r)}
	if after, _ := json.Marshal(s); string(before) != string(after) {
		t.Errorf("the snapshot was changed from %s to %s", before, after)
	}
	return a
}

// status is "REASON MESSAGE" of the n-th target of a policy.
func (a *applied) status(name string, n int) string {
	a.t.Helper()
	for _, o := range a.result.Statuses {
		p := o.(*v1alpha1.HoldfastPolicy)
		if p.Name != name {
			continue
		}
		if n >= len(p.Status.Ancestors) {
			a.t.Fatalf("%s has %d ancestors", name, len(p.Status.Ancestors))
		}
		c := p.Status.Ancestors[n].Conditions[0]
		if (c.Status == metav1.ConditionTrue) != (c.Reason == "Accepted") || c.Type != "Accepted" || c.ObservedGeneration != 3 || c.LastTransitionTime.IsZero() {
			a.t.Errorf("%s: %+v", name, c)
		}
		return c.Reason + " " + c.Message
	}
	a.t.Fatalf("%s has no status", name)
	return ""
}

func (a *applied) wantStatus(name string, n int, want ...string) {
	a.t.Helper()
	got := a.status(name, n)
	for _, w := range want {
		if !strings.Contains(got, w) {
			a.t.Errorf("%s: %q, want something with %q", name, got, w)
		}
	}
}

func (a *applied) pool(result int, name string) config.Pool {
	a.t.Helper()
	for _, p := range a.results[result].Pools {
		if p.Name == name {
			return p.Pool
		}
	}
	a.t.Fatalf("no pool %s", name)
	return config.Pool{}
}

func (a *applied) route(host string) config.Route {
	a.t.Helper()
	for _, r := range a.results {
		for _, route := range r.Routes {
			if route.Match.Host.String() == host || route.Match.SNI.String() == host {
				return route.Route
			}
		}
	}
	a.t.Fatalf("no route %s", host)
	return config.Route{}
}

func TestPoolSettings(t *testing.T) {
	a := apply(t, policyYAML("chat", service, `
drain: {timeout: 60s, spread: 30s}
reattach: {on: [drain, loss]}
`), policyYAML("ws", port, `
drain: {timeout: 20s}
max_sessions: 500
affinity: {cookie: {secret: "${secret:cookies/key}"}}`))
	a.wantStatus("chat", 0, "Accepted The policy holds")
	a.wantStatus("ws", 0, "Accepted The policy holds")
	for result := range 2 {
		p := a.pool(result, "ws")
		if p.Drain.Timeout != 20*time.Second || p.Drain.Spread != 20*time.Second || p.MaxSessions != 500 {
			t.Errorf("the policy of the port doesn't win: %+v", p)
		}
		if r := p.Reattach; r == nil || !r.Drain || !r.Loss || r.Rebalance {
			t.Errorf("reattach %+v", p.Reattach)
		}
		if p.Affinity.Cookie == nil || p.Affinity.Cookie.Secret != "0XLi3XzgIqf7QnS2VkCViQ" {
			t.Errorf("affinity %+v", p.Affinity.Cookie)
		}
	}
	if p := a.pool(1, "admin"); p.Drain.Timeout != time.Minute || p.Drain.Spread != 30*time.Second || p.Feed != "default/chat:81" {
		t.Errorf("the other port: %+v", p)
	}
}

func TestRouteSettings(t *testing.T) {
	a := apply(t,
		policyYAML("gateway", gateway, "limits: {max_message: 1MiB, max_body: 1MiB}\ntimeouts: {idle: 10m}\nresponse_headers: {set: {X-A: gateway, X-B: gateway}}\ndeny: 192.0.2.0/24"),
		policyYAML("listener", listener, "limits: {max_message: 2MiB}\nallow: 10.0.0.0/8"),
		policyYAML("route", httpRoute, "limits: {max_body: 3MiB}\nresponse_headers: {remove: [x-b]}\nallow: [10.1.0.0/16, 192.168.0.0/16]"),
		policyYAML("rule", rule, "timeouts: {idle: 20m}\norigins: any\nsubprotocols: chat.v1"))
	for _, name := range []string{"gateway", "listener", "route", "rule"} {
		a.wantStatus(name, 0, "Accepted The policy holds")
	}
	ws, api, internal, shop := a.route("ws.example.com"), a.route("api.example.com"), a.route("internal.example.com"), a.route("shop.example.com")
	mib := func(n *int) int { return *n >> 20 }
	if mib(ws.Limits.MaxMessage) != 1 || mib(ws.Limits.MaxBody) != 3 || mib(internal.Limits.MaxMessage) != 2 || mib(api.Limits.MaxBody) != 3 {
		t.Errorf("limits: %+v, %+v, %+v", ws.Limits, internal.Limits, api.Limits)
	}
	if *ws.Timeouts.Idle != 20*time.Minute || *api.Timeouts.Idle != 10*time.Minute || ws.Origins == nil || api.Origins != nil || !slices.Equal(ws.Subprotocols, []string{"chat.v1"}) {
		t.Errorf("the rule's policy: %+v, %+v", ws, api)
	}
	if got := fmt.Sprint(ws.ResponseHeaders); got != "{[[X-A gateway]] [] [x-b]}" {
		t.Errorf("headers: %s", got)
	}
	if got := fmt.Sprint(internal.Allow, internal.Deny); got != "[10.1.0.0/16] [192.0.2.0/24]" {
		t.Errorf("allow and deny of both: %s", got)
	}
	if got := fmt.Sprint(ws.Allow, ws.Deny); got != "[10.1.0.0/16 192.168.0.0/16] [192.0.2.0/24]" {
		t.Errorf("allow and deny: %s", got)
	}
	if !reflect.DeepEqual(shop, results(snapshot(t))[0].Routes[0].Route) {
		t.Errorf("the Ingress's route has changed: %+v", shop)
	}
	if through := a.route("through.example.com"); mib(through.Limits.MaxMessage) != 1 || through.ResponseHeaders.Set != nil || len(through.Deny) != 1 {
		t.Errorf("a route without requests: %+v", through)
	}
	if l := a.results[1].Listeners[2]; fmt.Sprint(l.Deny) != "[192.0.2.0/24]" {
		t.Errorf("a listener without routes: %+v", l)
	}
}

// TestOwnSettings: what a route's object says itself wins over the Gateway's policy, and
// the route's own policy over that. Networks of all hold together.
func TestOwnSettings(t *testing.T) {
	s := snapshot(t, policyYAML("gateway", gateway, "timeouts: {idle: 1m, connect: 1s}\nrequest_headers: {set: {X-A: gateway}}"),
		policyYAML("route", httpRoute, "timeouts: {connect: 3s}\nallow: 10.1.0.0/16"))
	r := results(s)
	idle, connect := 2*time.Minute, 2*time.Second
	own := &r[1].Routes[1].Route
	own.Timeouts.Idle, own.Timeouts.Connect = &idle, &connect
	own.RequestHeaders.Set = config.Headers{{"x-a", "filter"}}
	own.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	a := applyTo(t, s, r, Options{})
	ws := a.route("ws.example.com")
	if *ws.Timeouts.Idle != idle || *ws.Timeouts.Connect != 3*time.Second || fmt.Sprint(ws.RequestHeaders.Set) != "[[x-a filter]]" || fmt.Sprint(ws.Allow) != "[10.1.0.0/16]" {
		t.Errorf("got %+v", ws)
	}
}

func TestOwnAffinityWins(t *testing.T) {
	s := snapshot(t, policyYAML("chat", port, "affinity: {token: {from: query:room}}\nbalance: p2c"))
	r := results(s)
	r[0].Pools[0].Affinity.Token = &config.Token{From: []requestkey.Part{requestkey.ClientIP}}
	cookie := &config.Cookie{Secret: "0XLi3XzgIqf7QnS2VkCViQ"}
	cookie.SetDefaults()
	r[1].Pools[0].Affinity.Cookie = cookie
	r[1].Pools[0].Balance, r[1].Pools[0].Hash.Key = "hash", []requestkey.Part{requestkey.ClientIP}
	a := applyTo(t, s, r, Options{})
	if p := a.pool(0, "ws"); p.Affinity.Token.From[0] == requestkey.ClientIP {
		t.Error("a Service's sessionAffinity wins over its policy")
	}
	if p := a.pool(1, "ws"); p.Affinity.Cookie != cookie || p.Affinity.Token != nil || p.Balance != "p2c" || p.Hash.Key != nil {
		t.Errorf("session persistence of a route: %+v", p)
	}
	a.wantStatus("chat", 0, "Accepted The policy holds")
}

func TestInvalid(t *testing.T) {
	for _, c := range []struct{ targets, spec, want string }{
		{service, "drian: {timeout: 60s}", `spec: unknown key "drian" (did you mean "drain"?)`},
		{service, "drain: {timeout: 1y}", `spec.drain.timeout: bad duration "1y"`},
		{service, "drain: {timeout: 10s, spread: 20s}", `spec.drain.spread: the spread of 20s must not be longer`},
		{service, "drain: {tiemout: 10s}", `spec.drain: unknown key "tiemout" (did you mean "timeout"?)`},
		{service, "drain: 60s", `spec.drain: expected a mapping with timeout and spread, got the text "60s"`},
		{service, "backends: []", "spec.backends: the backends are the pods"},
		{service, "tls: {}", "spec.tls: TLS to pods is said by a BackendTLSPolicy"},
		{httpRoute, "match: {host: bank.example.com}", "spec.match: which requests it gets is said by the route itself"},
		{httpRoute, "pool: other", "spec.pool: where its requests go"},
		{httpRoute, "redirect: https://evil.example.com", "spec.redirect: redirects are said by the route itself"},
		{service, "allow: 10.0.0.0/8", "spec.allow: this is a key of a route: a target of the kind HTTPRoute"},
		{httpRoute, "drain: {timeout: 10s}", "spec.drain: this is a key of a pool: a target of the kind Service"},
		{service, "", "spec: the policy says nothing"},
		{service, "affinity: {cookie: {secret: \"${HOME}/aaaaaaaaaaaaaaaa\"}}", `spec.affinity.cookie.secret: "${HOME}" can't be used here`},
		{service, "affinity: {cookie: {secret: \"${file:/etc/passwd}\"}}", `can't be used here`},
		{service, "affinity: {cookie: {secret: \"${secret:cookies/none}\"}}", `spec.affinity.cookie.secret: the Secret "cookies" has no key "none"`},
		{service, "affinity: {cookie: {secret: \"${secret:others/key}\"}}", `there is no Secret "others" in the policy's namespace`},
		{service, "affinity: {cookie: {secret: \"${secret:other/cookies/key}\"}}", "a reference to a Secret of the policy's namespace is written"},
		{service, "affinity: {cookie: {secret: \"${secret:cookies/short}\"}}", "the secret has 3 characters and needs at least 16"},
		{service, "affinity: {learn: {from: cookie:a, max: 5000000}}", "spec.affinity.learn.max: a policy may have at most 100000"},
		{service, "admit: {rate: 5/s, queue: 500000}", "spec.admit.queue: a policy may have at most 10000"},
		{service, "health: {tcp: true, interval: 5ms, timeout: 2ms}", "spec.health.interval: a policy may have at least 1s"},
		{httpRoute, "auth: {jwt: {jwks_file: /etc/passwd}}", "spec.auth.jwt.jwks_file: a policy can't name files"},
		{httpRoute, "auth: {jwt: {secret_file: /var/run/secrets/kubernetes.io/serviceaccount/token}}", "spec.auth.jwt.secret_file: a policy can't name files"},
		{httpRoute, "auth: {jwt: {secret_file: \"${file:/etc/passwd}\"}}", "spec.auth.jwt.secret_file: a policy can't name files"},
		{httpRoute, "auth: {jwt: {secret_file: \"${secret:none/hmac}\"}}", `spec.auth.jwt.secret_file: there is no Secret "none"`},
		{httpRoute, "auth: {jwt: {secret_file: \"${configmap:keys/wrong}\"}}", `spec.auth.jwt.secret_file: everyone may read a ConfigMap`},
		{httpRoute, "auth: {jwt: {secret_file: \"${secret:cookies/key}\"}}", `spec.auth.jwt.secret_file: the key "key" of "cookies" is no secret of at least 32 bytes`},
		{httpRoute, "auth: {jwt: {jwks_file: \"${configmap:keys/wrong}\"}}", `spec.auth.jwt.jwks_file: the key "wrong" of "keys" is no JWK Set with keys that can be used`},
		{httpRoute, "auth: {jwt: {public_key_file: \"${configmap:keys/none}\"}}", `the ConfigMap "keys" has no key "none"`},
		{httpRoute, "auth: {jwt: {jwks_url: \"https://a.example.com/\", ca: \"${configmap:keys/wrong}\"}}", "spec.auth.jwt.ca: a policy can't name files"},
		{httpRoute, "auth: {jwt: {jwks_url: \"http://169.254.169.254/\"}}", "spec.auth.jwt.jwks_url: without https, only a Service of the policy's own namespace"},
		{httpRoute, "auth: {jwt: {jwks_url: \"https://login.example.com/jwks\", refresh: 10s}}", "spec.auth.jwt.refresh: a policy may have at least 1m"},
		{httpRoute, "auth: {request: {url: \"https://example.com/\"}}", "spec.auth.request.url: only a Service of the policy's own namespace is asked: write for example http://auth.default.svc:8080/check"},
		{httpRoute, "auth: {request: {url: \"http://auth.other.svc/\"}}", `and "auth" is in another`},
		{httpRoute, "auth: {request: {url: \"http://nothing.default.svc/\"}}", `there is no Service "nothing"`},
		{httpRoute, "auth: {request: {url: \"http://outside.default.svc/\"}}", `the Service "outside" has the type ExternalName`},
		{httpRoute, "auth: {request: {url: \"http://byhand.default.svc/\"}}", `the Service "byhand" has no selector`},
		{httpRoute, "auth: {request: {url: \"http://auth.default.svc.evil.example.com/\"}}", "only a Service of the policy's own namespace"},
		{httpRoute, "auth: {request: {url: \"http://auth.default.svc/\", max_concurrent: 5000}}", "spec.auth.request.max_concurrent: a policy may have at most 1000"},
		{httpRoute, "auth: {request: {url: \"http://auth.default.svc/\", ca: /etc/ssl/ca.pem}}", "spec.auth.request.ca: a policy can't name files"},
		{httpRoute, "request_headers: {set: {X-Key: \"${AWS_SECRET_ACCESS_KEY}\"}}", "can't be used here"},
		{httpRoute, "request_headers: {set: {Host: evil}}", "spec.request_headers.set[0]: bad header"},
		{tlsRoute, "auth: {jwt: {jwks_url: \"https://login.example.com/jwks\"}}", "spec.auth: this is about requests"},
		{service, "drain: {reason: \"" + strings.Repeat("x", maxSettings) + "\"}", "spec: the settings are longer than 32768 bytes"},
		{httpRoute, "origins: [any, \"https://a.example.com\"]\nallow: [10.0.0.0/8, here]", "spec.allow[1]: bad network"},
		{`{group: "", kind: Pod, name: a}`, "drain: {timeout: 10s}", `a "Pod" of the group "" can't have a policy`},
		{`{group: apps, kind: Service, name: a}`, "drain: {timeout: 10s}", `a "Service" of the group "apps" can't have a policy`},
	} {
		t.Run(c.want, func(t *testing.T) {
			a := apply(t, policyYAML("p", c.targets, c.spec))
			a.wantStatus("p", 0, "Invalid ", c.want)
			if strings.Contains(a.status("p", 0), "pools.policy") || strings.Contains(a.status("p", 0), "routes[0]") {
				t.Errorf("a path of the checks: %s", a.status("p", 0))
			}
			if len(a.result.Events) != 1 || !a.result.Events[0].Warning || !strings.Contains(a.result.Events[0].Message, c.want) {
				t.Errorf("events: %+v", a.result.Events)
			}
			if p, want := a.pool(0, "ws"), results(snapshot(t))[0].Pools[0].Pool; !reflect.DeepEqual(p, want) {
				t.Errorf("an invalid policy has changed a pool: %+v", p)
			}
		})
	}
}

// TestValidURLs: those that a user of a namespace may have the balancer ask.
func TestValidURLs(t *testing.T) {
	for _, spec := range []string{
		`auth: {request: {url: "http://auth.default.svc:8080/check"}}`,
		`auth: {request: {url: "http://auth.default.svc.cluster.local/check"}}`,
		`auth: {jwt: {jwks_url: "http://auth.default.svc/jwks.json", audience: chat}}`,
		`auth: {jwt: {jwks_url: "https://login.example.com/jwks.json", audience: chat}}`,
	} {
		a := apply(t, policyYAML("p", httpRoute, spec))
		a.wantStatus("p", 0, "Accepted ")
		if r := a.route("ws.example.com"); r.Auth == nil {
			t.Errorf("%s: the route has no auth", spec)
		}
	}
	s := snapshot(t, policyYAML("p", httpRoute, `auth: {request: {url: "https://auth.example.com/check"}}`))
	applyTo(t, s, results(s), Options{AnyURLs: true}).wantStatus("p", 0, "Accepted ")
}

// TestGuardsFailClosed: what an invalid policy should guard is closed, and nothing else.
func TestGuardsFailClosed(t *testing.T) {
	for _, c := range []struct {
		name, policy string
		closed       string // hosts
	}{
		{"a wrong guard of a rule", policyYAML("p", rule, "deny: [everyone]"), "internal ws"},
		{"a wrong guard of a route", policyYAML("p", httpRoute, "auth: {}"), "internal ws api"},
		{"a guard beside something wrong", policyYAML("p", httpRoute, "allow: 10.0.0.0/8\ntimeouts: {idle: soon}"), "internal ws api"},
		{"a guard that is misspelt", policyYAML("p", httpRoute, "alow: 10.0.0.0/8"), "internal ws api"},
		{"a wrong guard of a listener", policyYAML("p", listener, "allow: x"), "internal"},
		{"a wrong guard of a Gateway", policyYAML("p", gateway, "allow: x"), "internal ws api through"},
		{"a wrong guard of an Ingress", policyYAML("p", ingress, "origins: []"), "shop"},
		{"a guard at a Service", policyYAML("p", service, "allow: 10.0.0.0/8"), "internal ws api shop through"},
		{"a guard that a TLSRoute can't have", policyYAML("p", tlsRoute, "auth: {none: true}"), "through"},
		{"no guard", policyYAML("p", httpRoute, "timeouts: {idle: soon}"), ""},
		{"a wrong pool", policyYAML("p", service, "drain: {timeout: soon}"), ""},
		{"a route that isn't there", policyYAML("p", `{group: gateway.networking.k8s.io, kind: HTTPRoute, name: none}`, "allow: 10.0.0.0/8"), ""},
		{"the newer of two", policyYAML("a", httpRoute, "timeouts: {idle: 1m}") + policyYAML("b", httpRoute, "allow: x"), ""},
		{"the older of two", policyYAML("a", httpRoute, "allow: x") + policyYAML("b", httpRoute, "allow: 10.0.0.0/8"), "internal ws api"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := apply(t, strings.Split(strings.TrimPrefix(c.policy, "---\n"), "---\n")...)
			var closed []string
			for _, host := range []string{"internal", "ws", "api", "shop", "through"} {
				r := a.route(host + ".example.com")
				switch {
				case r.Opaque() && slices.Equal(r.Deny, everyone), r.Respond != nil && r.Respond.Status == 503 && r.Pool == "":
					closed = append(closed, host)
				case r.Pool == "" || r.Respond != nil || r.Deny != nil:
					t.Errorf("%s is neither open nor closed: %+v", host, r)
				}
			}
			if got := strings.Join(closed, " "); got != c.closed {
				t.Errorf("closed are %q, want %q", got, c.closed)
			}
			if c.closed != "" && c.name != "the older of two" {
				a.wantStatus("p", 0, "Invalid ", "answer 503")
			}
		})
	}
}

func TestTargets(t *testing.T) {
	none := `{group: "", kind: Service, name: none}`
	noPort := `{group: "", kind: Service, name: chat, sectionName: wss}`
	noSection := `{group: networking.k8s.io, kind: Ingress, name: shop, sectionName: x}`
	a := apply(t,
		policyYAML("a", strings.Join([]string{service, none, noPort, service}, ", "), "drain: {timeout: 60s}"),
		policyYAML("b", service, "drain: {timeout: 10s}"),
		policyYAML("c", noSection, "timeouts: {idle: 1m}"),
		policyYAML("d", `{group: "", kind: Service, name: auth}`, "drain: {timeout: 60s}"))
	a.wantStatus("a", 0, "Accepted The policy holds")
	a.wantStatus("a", 1, `TargetNotFound there is no Service "none" in the namespace default`)
	a.wantStatus("a", 2, `TargetNotFound the Service "chat" has no section "wss": there are ws, admin`)
	a.wantStatus("b", 0, "Conflicted the policy a is older and has this target, too")
	a.wantStatus("c", 0, "TargetNotFound an Ingress has no sections")
	a.wantStatus("d", 0, "Accepted", "holds for nothing yet")
	if p := a.pool(1, "ws"); p.Drain.Timeout != time.Minute {
		t.Errorf("the older policy doesn't count: %+v", p.Drain)
	}
	if n := len(a.result.Statuses[0].(*v1alpha1.HoldfastPolicy).Status.Ancestors); n != 3 {
		t.Errorf("%d entries for a, want one for each target", n)
	}
}

// TestOldestCounts: not the first by name.
func TestOldestCounts(t *testing.T) {
	s := snapshot(t, policyYAML("a", service, "drain: {timeout: 10s}"), policyYAML("b", service, "drain: {timeout: 60s}"))
	s.Policies[0].CreationTimestamp = metav1.NewTime(now.Add(time.Second))
	s.Policies[1].CreationTimestamp = now
	a := applyTo(t, s, results(s), Options{})
	a.wantStatus("a", 0, "Conflicted the policy b is older")
	a.wantStatus("b", 0, "Accepted")
}

// TestCombinations: a policy that is right by itself and doesn't go together with the rest.
func TestCombinations(t *testing.T) {
	s := snapshot(t, policyYAML("p", service, "rebalance: {}\ndrain: {timeout: 10s}"))
	r := results(s)
	r[0].Pools[0].Balance, r[0].Pools[0].Hash.Key = "hash", []requestkey.Part{requestkey.ClientIP}
	a := applyTo(t, s, r, Options{})
	a.wantStatus("p", 0, "Invalid it doesn't go together", "rebalance leaves sessions alone")
	if p := a.pool(0, "ws"); p.Rebalance != nil || p.Drain.Timeout != 300*time.Second {
		t.Errorf("it was applied: %+v", p)
	}
	if p := a.pool(1, "ws"); p.Drain.Timeout != 300*time.Second {
		t.Errorf("it was applied elsewhere: %+v", p)
	}
	// A cookie for a Service that gets connections without requests by one of its ports.
	a = apply(t, policyYAML("p", service, "affinity: {cookie: {secret: \"${secret:cookies/key}\"}}"), policyYAML("q", port, "max_sessions: 7"))
	a.wantStatus("p", 0, "Invalid it doesn't go together", "connections without cookies")
	a.wantStatus("q", 0, "Accepted")
	if a.pool(1, "admin").Affinity.Cookie != nil || a.pool(1, "ws").Affinity.Cookie != nil || a.pool(0, "ws").Affinity.Cookie != nil || a.pool(0, "ws").MaxSessions != 7 {
		t.Errorf("it was applied: %+v", a.results)
	}
}

func TestStatusOfOthersStays(t *testing.T) {
	s := snapshot(t, policyYAML("p", service, "drain: {timeout: 60s}"))
	const status = `{ancestors: [
		{ancestorRef: {name: x}, controllerName: example.com/other, conditions: [{type: Accepted, status: "True", reason: Accepted, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}]},
		{ancestorRef: {group: "", kind: Service, namespace: default, name: chat}, controllerName: holdfast.dev/gateway, conditions: [
			{type: Other, status: "True", reason: Other, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"},
			{type: Accepted, status: "True", reason: Accepted, message: "old", observedGeneration: 1, lastTransitionTime: "2026-01-01T00:00:00Z"}]},
		{ancestorRef: {group: "", kind: Service, namespace: default, name: gone}, controllerName: holdfast.dev/gateway, conditions: []}]}`
	if err := yaml.Unmarshal([]byte(status), &s.Policies[0].Status); err != nil {
		t.Fatal(err)
	}
	got := applyTo(t, s, results(s), Options{}).result.Statuses[0].(*v1alpha1.HoldfastPolicy).Status
	if len(got.Ancestors) != 2 || got.Ancestors[0].ControllerName != "example.com/other" || len(got.Ancestors[1].Conditions) != 2 {
		t.Fatalf("got %+v", got)
	}
	c := got.Ancestors[1].Conditions[1]
	if c.LastTransitionTime.Year() != 2026 || c.LastTransitionTime.Day() != 1 || c.ObservedGeneration != 3 || c.Message == "old" {
		t.Errorf("the condition that holds on: %+v", c)
	}
	// What was written is what is made of it again.
	s.Policies[0].Status = got
	if again := applyTo(t, s, results(s), Options{Now: metav1.Now()}).result.Statuses[0].(*v1alpha1.HoldfastPolicy).Status; !reflect.DeepEqual(got, again) {
		t.Errorf("got %+v, then %+v", got, again)
	}
}

// TestKeysForTokens: they may be in a Secret or a ConfigMap, and a change of these is seen.
func TestKeysForTokens(t *testing.T) {
	s := snapshot(t, policyYAML("p", rule, `auth: {jwt: {secret_file: "${secret:tokens/hmac}", audience: chat}}`),
		policyYAML("q", ingress, `auth: {jwt: {jwks_file: "${configmap:keys/jwks.json}", audience: shop}}`))
	o := Options{Cache: &Cache{}}
	a := applyTo(t, s, results(s), o)
	a.wantStatus("p", 0, "Accepted The policy holds")
	a.wantStatus("q", 0, "Accepted The policy holds")
	ws, shop := a.route("ws.example.com").Auth.JWT, a.route("shop.example.com").Auth.JWT
	if ws.SecretFile != "/secret/default/tokens/hmac" || ws.KeyText != "0XLi3XzgIqf7QnS2VkCViQ0XLi3XzgIqf7QnS2VkCViQ" || !slices.Equal(ws.Algorithms, []string{"HS256"}) {
		t.Errorf("a secret: %+v", ws)
	}
	if shop.JWKSFile != "/configmap/default/keys/jwks.json" || !strings.Contains(shop.KeyText, "Ed25519") {
		t.Errorf("a JWK Set: %+v", shop)
	}
	s.Secret("default", "tokens").Data["hmac"] = []byte("another secret of 32 bytes or more")
	a = applyTo(t, s, results(s), o)
	if ws := a.route("ws.example.com").Auth.JWT; ws.KeyText != "another secret of 32 bytes or more" {
		t.Errorf("a changed secret: %+v", ws)
	}
	delete(s.Secret("default", "tokens").Data, "hmac")
	a = applyTo(t, s, results(s), o)
	if ws := a.route("ws.example.com"); ws.Respond == nil || ws.Respond.Status != 503 {
		t.Errorf("a route whose secret is gone: %+v", ws)
	}
}

// TestCache: what was read before is used for policies that are the same objects, unless it
// depends on others.
func TestCache(t *testing.T) {
	s := snapshot(t, policyYAML("p", service, "drain: {timeout: 60s}"), policyYAML("q", port, "affinity: {cookie: {secret: \"${secret:cookies/key}\"}}"))
	o := Options{Cache: &Cache{}}
	first := applyTo(t, s, results(s), o)
	kept := o.Cache.settings[s.Policies[0]]
	if len(o.Cache.settings) != 1 || kept == nil {
		t.Errorf("kept are %v", o.Cache.settings)
	}
	s.Secret("default", "cookies").Data["key"] = []byte("another secret 0XLi3XzgIq")
	again := applyTo(t, s, results(s), o)
	if o.Cache.settings[s.Policies[0]] != kept {
		t.Error("it was read again")
	}
	if !reflect.DeepEqual(first.pool(1, "admin"), again.pool(1, "admin")) || again.pool(0, "ws").Affinity.Cookie.Secret != "another secret 0XLi3XzgIq" {
		t.Errorf("got %+v, then %+v", first.pool(1, "admin"), again.pool(0, "ws"))
	}
	o.AnyURLs = true
	if applyTo(t, s, results(s), o); o.Cache.settings[s.Policies[0]] == kept {
		t.Error("it wasn't read again with other options")
	}
	s.Policies = s.Policies[1:]
	if applyTo(t, s, results(s), o); len(o.Cache.settings) != 0 {
		t.Errorf("a policy that is gone is kept: %v", o.Cache.settings)
	}
}

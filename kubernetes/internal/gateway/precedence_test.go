package gateway

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
)

// TestPrecedence: the order of matches, for each criterion of the Gateway API the one that
// comes first.
func TestPrecedence(t *testing.T) {
	path := func(kind, value string) string {
		return fmt.Sprintf("path: {type: %s, value: %q}", kind, value)
	}
	for _, c := range []struct {
		name          string
		first, second string // of hostnames and a match
	}{
		{"a name before a wildcard", "[a.example.com] {" + path("PathPrefix", "/") + "}", "['*.example.com'] {" + path("Exact", "/a") + "}"},
		{"a long wildcard before a short one", "['*.a.example.com'] {}", "['*.example.com'] {" + path("Exact", "/a") + "}"},
		{"a wildcard before none", "['*.example.com'] {}", "[] {" + path("Exact", "/a") + "}"},
		{"exact before a long prefix", "[] {" + path("Exact", "/a") + "}", "[] {" + path("PathPrefix", "/a/b/c") + "}"},
		{"exact before an expression", "[] {" + path("Exact", "/a") + "}", "[] {" + path("RegularExpression", "/[a-z]+/b") + "}"},
		{"a long prefix before a short one", "[] {" + path("PathPrefix", "/a/b") + "}", "[] {" + path("PathPrefix", "/a") + ", method: GET}"},
		{"a slash at the end doesn't count", "[] {" + path("PathPrefix", "/ab") + "}", "[] {" + path("PathPrefix", "/a/") + ", method: GET}"},
		{"a method before header fields", "[] {method: GET}", "[] {headers: [{name: a, value: b}]}"},
		{"more header fields before fewer", "[] {headers: [{name: a, value: b}, {name: b, value: b}]}", "[] {headers: [{name: a, value: b}], queryParams: [{name: a, value: b}]}"},
		{"more parameters before fewer", "[] {queryParams: [{name: a, value: b}]}", "[] {}"},
		{"an older route before a newer one", "[] {} 2025", "[] {} 2026"},
		{"a name that comes first", "[] {}", "[] {}"},
	} {
		for _, swapped := range []bool{false, true} {
			route := func(name, s string) string {
				hosts, rest, _ := strings.Cut(s, "] ")
				match, year, _ := strings.Cut(rest, "} 2")
				if year != "" {
					match, year = match+"}", "creationTimestamp: 2"+year+"-01-01T00:00:00Z, "
				}
				return "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {" + year + "name: " + name + ", namespace: shop}\n" +
					"spec: {parentRefs: [{name: web}], hostnames: " + hosts + "], rules: [{matches: [" + match + "]}]}\n"
			}
			first, second := "a", "b"
			if swapped && c.name != "a name that comes first" {
				first, second = "b", "a"
			}
			objects, err := cluster.ParseYAML(route(first, c.first)+"---\n"+route(second, c.second), simpleGateway)
			if err != nil {
				t.Fatal(err)
			}
			result, _ := settle(t, objects)
			if len(result.Routes) != 2 || result.Routes[0].Owner.Object.GetName() != first {
				t.Errorf("%s (swapped: %t): the order is wrong:\n%s", c.name, swapped, dump(result))
			}
		}
	}
}

const simpleGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: holdfast}
spec: {controllerName: holdfast.dev/gateway}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec:
  gatewayClassName: holdfast
  listeners: [{name: http, port: 80, protocol: HTTP}]
`

// texts are values that have broken programs before.
var texts = rapid.SampledFrom([]string{
	"", "a", "/a", "/a/b/", "/", "*", "~", "~(", "(", "a|b", "[0-9]+", "${client_ip}", "$", "$1", "${", "/$9", "/..", "//", "/%2f", "/%41", "/a;b",
	"X-A", "Host", "host", "Connection", "X-Forwarded-For", "Sec-WebSocket-Key", "a b", "ä", "\x00", "\r\nX: y", "0s", "10s", "-1s", "99999h", "x",
	"example.com", "*.example.com", "a.b.example.com", "*.*.com", "10.0.0.1", "http", "HTTPS", "ftp", "GET", "get", strings.Repeat("a", 300), strings.Repeat("(a{9}){9}", 20),
})

// TestHostileRoutes: whatever users write, nothing panics, the configuration is valid, and
// what one writes changes nothing of the routes of another one.
func TestHostileRoutes(t *testing.T) {
	const victim = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: victim, namespace: shop, creationTimestamp: 2020-01-01T00:00:00Z}\n" +
		"spec: {parentRefs: [{name: web}], hostnames: [victim.example.net], rules: [{backendRefs: [{name: chat, port: 80}]}]}\n"
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: chat, namespace: shop}\nspec: {ports: [{port: 80}]}\n"
	rapid.Check(t, func(r *rapid.T) {
		objects, err := cluster.ParseYAML(simpleGateway, victim, service)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rapid.IntRange(1, 4).Draw(r, "routes") {
			objects = append(objects, hostileRoute(r, fmt.Sprintf("route-%d", i)))
		}
		result, settled := settle(t, objects)
		found := 0
		for _, route := range result.Routes {
			if route.Owner.Object.GetName() == "victim" {
				found++
				if route.Pool != "shop/chat:80" || route.Respond != nil {
					t.Errorf("the victim's route is %s", text(reflect.ValueOf(route.Route)))
				}
			}
		}
		if found != 1 {
			t.Errorf("the victim has %d routes", found)
		}
		// The order of the objects makes no difference.
		rand.Shuffle(len(settled), func(i, j int) { settled[i], settled[j] = settled[j], settled[i] })
		if again, _ := settle(t, settled); dump(again) != dump(result) {
			t.Errorf("in another order:\n%s\nbefore:\n%s", dump(again), dump(result))
		}
	})
}

func hostileRoute(r *rapid.T, name string) client.Object {
	some := func(what string) string { return texts.Draw(r, what) }
	ptr := func(what string) *string {
		if rapid.Bool().Draw(r, "no "+what) {
			return nil
		}
		s := some(what)
		return &s
	}
	route := &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name,
		CreationTimestamp: metav1.NewTime(time.Unix(rapid.Int64Range(1_700_000_000, 1_700_000_002).Draw(r, "created"), 0))}}
	route.Spec.ParentRefs = []gwv1.ParentReference{{Name: "web"}}
	for range rapid.IntRange(0, 2).Draw(r, "hosts") {
		route.Spec.Hostnames = append(route.Spec.Hostnames, gwv1.Hostname(some("host")))
	}
	for range rapid.IntRange(0, 3).Draw(r, "rules") {
		var rule gwv1.HTTPRouteRule
		for range rapid.IntRange(0, 2).Draw(r, "matches") {
			var m gwv1.HTTPRouteMatch
			kind := gwv1.PathMatchType(rapid.SampledFrom([]string{"Exact", "PathPrefix", "RegularExpression", "Other"}).Draw(r, "path type"))
			m.Path = &gwv1.HTTPPathMatch{Type: &kind, Value: ptr("path")}
			m.Method = (*gwv1.HTTPMethod)(ptr("method"))
			how := gwv1.HeaderMatchType(rapid.SampledFrom([]string{"Exact", "RegularExpression", "Other"}).Draw(r, "header type"))
			m.Headers = append(m.Headers, gwv1.HTTPHeaderMatch{Type: &how, Name: gwv1.HTTPHeaderName(some("header")), Value: some("value")})
			m.QueryParams = append(m.QueryParams, gwv1.HTTPQueryParamMatch{Name: gwv1.HTTPHeaderName(some("parameter")), Value: some("value")})
			rule.Matches = append(rule.Matches, m)
		}
		headers := func() *gwv1.HTTPHeaderFilter {
			h := func() []gwv1.HTTPHeader {
				return []gwv1.HTTPHeader{{Name: gwv1.HTTPHeaderName(some("name")), Value: some("value")}, {Name: "x-b", Value: some("value")}}
			}
			return &gwv1.HTTPHeaderFilter{Set: h(), Add: h(), Remove: []string{some("name"), some("name")}}
		}
		modifier := func() *gwv1.HTTPPathModifier {
			return &gwv1.HTTPPathModifier{
				Type:            gwv1.HTTPPathModifierType(rapid.SampledFrom([]string{"ReplaceFullPath", "ReplacePrefixMatch", "Other"}).Draw(r, "modifier")),
				ReplaceFullPath: ptr("full"), ReplacePrefixMatch: ptr("prefix"),
			}
		}
		code, port := rapid.IntRange(0, 600).Draw(r, "code"), rapid.Int32Range(-1, 70000).Draw(r, "port")
		filters := []gwv1.HTTPRouteFilter{
			{Type: gwv1.HTTPRouteFilterRequestHeaderModifier, RequestHeaderModifier: headers()},
			{Type: gwv1.HTTPRouteFilterResponseHeaderModifier, ResponseHeaderModifier: headers()},
			{Type: gwv1.HTTPRouteFilterRequestRedirect, RequestRedirect: &gwv1.HTTPRequestRedirectFilter{
				Scheme: ptr("scheme"), Hostname: (*gwv1.PreciseHostname)(ptr("hostname")), Path: modifier(), Port: &port, StatusCode: &code}},
			{Type: gwv1.HTTPRouteFilterURLRewrite, URLRewrite: &gwv1.HTTPURLRewriteFilter{Hostname: (*gwv1.PreciseHostname)(ptr("hostname")), Path: modifier()}},
			{Type: gwv1.HTTPRouteFilterCORS, CORS: &gwv1.HTTPCORSFilter{
				AllowOrigins: []gwv1.CORSOrigin{gwv1.CORSOrigin(some("origin")), "https://*.example.com"}, AllowCredentials: new(bool),
				AllowMethods: []gwv1.HTTPMethodWithWildcard{gwv1.HTTPMethodWithWildcard(some("method"))}, AllowHeaders: []gwv1.HTTPHeaderName{gwv1.HTTPHeaderName(some("header"))},
				ExposeHeaders: []gwv1.HTTPHeaderName{gwv1.HTTPHeaderName(some("header")), "*"}, MaxAge: port}},
			{Type: gwv1.HTTPRouteFilterURLRewrite},
			{Type: "Unknown"},
		}
		rule.Filters = append(rule.Filters, rapid.SliceOfN(rapid.SampledFrom(filters), 0, 2).Draw(r, "filters")...)
		for range rapid.IntRange(0, 3).Draw(r, "backends") {
			var b gwv1.HTTPBackendRef
			b.Name = gwv1.ObjectName(rapid.SampledFrom([]string{"chat", "missing", "\x00"}).Draw(r, "backend"))
			number, weight := gwv1.PortNumber(rapid.SampledFrom([]int32{80, 81}).Draw(r, "backend port")), rapid.Int32Range(0, 1_000_000).Draw(r, "weight")
			b.Port, b.Weight = &number, &weight
			b.Filters = rapid.SliceOfN(rapid.SampledFrom(filters[:3]), 0, 1).Draw(r, "backend filters")
			rule.BackendRefs = append(rule.BackendRefs, b)
		}
		if rapid.Bool().Draw(r, "timeouts") {
			rule.Timeouts = &gwv1.HTTPRouteTimeouts{Request: (*gwv1.Duration)(ptr("request")), BackendRequest: (*gwv1.Duration)(ptr("backendRequest"))}
		}
		if rapid.Bool().Draw(r, "persistence") {
			lifetime := gwv1.CookieLifetimeType(rapid.SampledFrom([]string{"Session", "Permanent", "Other"}).Draw(r, "lifetime"))
			rule.SessionPersistence = &gwv1.SessionPersistence{SessionName: ptr("session"), AbsoluteTimeout: (*gwv1.Duration)(ptr("absolute")), CookieConfig: &gwv1.CookieConfig{LifetimeType: &lifetime}}
		}
		if rapid.Bool().Draw(r, "retry") {
			rule.Retry = &gwv1.HTTPRouteRetry{Codes: []gwv1.HTTPRouteRetryStatusCode{gwv1.HTTPRouteRetryStatusCode(code)}}
		}
		route.Spec.Rules = append(route.Spec.Rules, rule)
	}
	return route
}

// TestPrecedenceIsTotal: no two matches of a listener are equal, so that there is one order.
func TestPrecedenceIsTotal(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var rules []hostRule
		for i := range rapid.IntRange(2, 6).Draw(r, "routes") {
			route := hostileRoute(r, fmt.Sprintf("route-%d", i)).(*gwv1.HTTPRoute)
			tr := &translator{s: mustSnapshot(t), grants: grants{}, policies: &tlsPolicies{}, pools: map[string]bool{}}
			l := &listener{}
			for j := range route.Spec.Rules {
				l.addRules([]*rule{tr.compileRule(route, j)}, commonHosts("", route.Spec.Hostnames))
			}
			rules = append(rules, l.rules...)
		}
		for i, a := range rules {
			for j, b := range rules {
				switch ab, ba := precedence(a, b), precedence(b, a); {
				case i == j && ab != 0, i != j && ab == 0, ab != -ba:
					t.Fatalf("%d and %d compare as %d, and the other way as %d", i, j, ab, ba)
				}
			}
		}
		slices.SortFunc(rules, precedence)
		for i := range rules {
			for j := i + 1; j < len(rules); j++ {
				if precedence(rules[i], rules[j]) >= 0 {
					t.Fatal("the order isn't transitive")
				}
			}
		}
	})
}

func mustSnapshot(t testing.TB, objects ...client.Object) *cluster.Snapshot {
	t.Helper()
	s, err := cluster.New(objects)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/kubernetes/api/v1alpha1"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// levelsOfWS are the targets whose policies hold for the route ws.example.com, the one that
// wins last.
var levelsOfWS = []string{gateway, strings.Replace(listener, "internal", "http", 1), httpRoute, rule}

// TestPrecedence compares with a model: of each level the oldest policy counts, and of each
// key that of the last level.
func TestPrecedence(t *testing.T) {
	keys := []string{"limits: {max_message: %d}", "limits: {max_body: %d}", "timeouts: {idle: %ds}", "subprotocols: v%d", "timeouts: {connect: %ds}"}
	rapid.Check(t, func(t *rapid.T) {
		var manifests []string
		ages := map[string]int{}
		want := map[int]int{} // by key
		for l, target := range levelsOfWS {
			n := rapid.IntRange(0, 2).Draw(t, "policies")
			order := rapid.Permutation([]int{0, 1}).Draw(t, "ages")
			for i := range n {
				name := fmt.Sprintf("l%d-%d", l, i)
				ages[name] = order[i]
				oldest := n == 1 || order[i] < order[1-i]
				value := rapid.IntRange(1, 1000).Draw(t, "value")
				key := rapid.IntRange(0, len(keys)-1).Draw(t, "key")
				manifests = append(manifests, policyYAML(name, target, fmt.Sprintf(keys[key], value)))
				if oldest {
					want[key] = value
				}
			}
		}
		s, err := cluster.FromYAML(append([]string{objects}, manifests...)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range s.Policies {
			p.CreationTimestamp = metav1.NewTime(now.Add(time.Duration(ages[p.Name]) * time.Second))
		}
		r := results(s)
		Apply(s, Options{Controller: "c", Now: now, Forwarded: config.Defaults().Forwarded}, r)
		ws := r[1].Routes[1].Route
		got := map[int]int{}
		if n := ws.Limits.MaxMessage; n != nil {
			got[0] = *n
		}
		if n := ws.Limits.MaxBody; n != nil {
			got[1] = *n
		}
		if d := ws.Timeouts.Idle; d != nil {
			got[2] = int(d.Seconds())
		}
		if ws.Subprotocols != nil {
			got[3], _ = strconv.Atoi(ws.Subprotocols[0][1:])
		}
		if d := ws.Timeouts.Connect; d != nil {
			got[4] = int(d.Seconds())
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v of\n%s", got, want, strings.Join(manifests, ""))
		}
	})
}

// TestNetworksHoldTogether: a client is admitted if the policy of the Gateway, that of the
// route and what the route says itself all admit it.
func TestNetworksHoldTogether(t *testing.T) {
	networks := []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "0.0.0.0/0", "fd00::/8", "10.2.0.0/16"}
	clients := []string{"10.0.0.1", "10.1.0.1", "10.1.2.1", "10.1.2.3", "10.2.0.1", "192.0.2.1", "fd00::1", "2001:db8::1"}
	admits := func(allow, deny []netip.Prefix, client netip.Addr) bool {
		in := func(list []netip.Prefix) bool {
			return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(client) })
		}
		return !in(deny) && (allow == nil || in(allow))
	}
	rapid.Check(t, func(t *rapid.T) {
		list := func(name string) (list []netip.Prefix) {
			for _, s := range rapid.SliceOfNDistinct(rapid.SampledFrom(networks), 0, 3, rapid.ID[string]).Draw(t, name) {
				list = append(list, netip.MustParsePrefix(s))
			}
			return list
		}
		spec := func(allow, deny []netip.Prefix) string {
			text := "timeouts: {idle: 1m}\n"
			for key, list := range map[string][]netip.Prefix{"allow": allow, "deny": deny} {
				if list != nil {
					text += fmt.Sprintf("%s: [%s]\n", key, strings.ReplaceAll(strings.Trim(fmt.Sprintf("%q", list), "[]"), " ", ", "))
				}
			}
			return text
		}
		var levels [3][2][]netip.Prefix
		for i := range levels {
			levels[i] = [2][]netip.Prefix{list("allow"), list("deny")}
		}
		s, err := cluster.FromYAML(objects, policyYAML("g", gateway, spec(levels[0][0], levels[0][1])), policyYAML("r", rule, spec(levels[2][0], levels[2][1])))
		if err != nil {
			t.Fatal(err)
		}
		r := results(s)
		r[1].Routes[1].Allow, r[1].Routes[1].Deny = levels[1][0], levels[1][1]
		result := Apply(s, Options{Controller: "c", Now: now, Forwarded: config.Defaults().Forwarded}, r)
		if len(result.Events) > 0 {
			t.Fatal(result.Events[0].Message)
		}
		ws := r[1].Routes[1].Route
		for _, text := range clients {
			client, want := netip.MustParseAddr(text), true
			for _, l := range levels {
				want = want && admits(l[0], l[1], client)
			}
			if got := admits(ws.Allow, ws.Deny, client); got != want {
				t.Fatalf("%s is admitted: %t, want %t, by %v from %v", client, got, want, []any{ws.Allow, ws.Deny}, levels)
			}
		}
	})
}

// FuzzSettings: whatever a user of a namespace writes, the configuration of all is valid,
// other routes are as they were, and the status has nothing in it that others should not
// see or that could forge lines of a log.
func FuzzSettings(f *testing.F) {
	targets := []string{"Service", "Ingress", "Gateway", "HTTPRoute", "TLSRoute"}
	for _, spec := range []string{
		`{"drain":{"timeout":"60s","spread":"30s"},"reattach":{"true":["drain"]}}`, `{"affinity":{"cookie":{"secret":"${secret:cookies/key}"}}}`,
		`{"auth":{"jwt":{"jwks_url":"https://a.example.com/","audience":"a"},"request":{"url":"http://auth.default.svc/"}}}`,
		`{"allow":["10.0.0.0/8"],"deny":"::/0","origins":{"allow":["any"],"required":true}}`,
		`{"limits":{"max_message":"1MiB","new_sessions_per_address":{"rate":0.5}},"timeouts":{"idle":0}}`,
		`{"request_headers":{"set":{"X-A":"${claim.sub}"},"remove":["Cookie"]},"response_headers":{"add":{"X-B":"${backend}"}}}`,
		`{"balance":"hash","hash":{"key":["client_ip"],"bound":1.25},"rebalance":{"sticky":"move"},"reattach":{}}`,
		`{"health":{"http":{"path":"/","headers":{"A":"\u0001"}},"min_healthy":"50%"},"admit":{"rate":"5/s"},"retry_on":[502]}`,
		`{"auth":{"jwt":{"secret_file":"${secret:tokens/hmac}"}}}`, `{"auth":{"jwt":{"jwks_file":"${configmap:keys/jwks.json}","public_key_file":"/etc/passwd"}}}`,
		`{"upgrades":["websocket","tcp"],"subprotocols":["a","a"]}`, `{"drain":{"reason":"\ud800\u2028\u202e${HOME}$${HOME}"}}`, `{"a":{"<<":{"*x":["&y"]}}}`, `{"drain":null}`,
	} {
		for i := range targets {
			f.Add(spec, uint8(i))
		}
	}
	others, err := cluster.ParseYAML(objects, policyYAML("other", ingress, "timeouts: {idle: 1m}"))
	if err != nil {
		f.Fatal(err)
	}
	policies := map[string]*v1alpha1.HoldfastPolicy{}
	for kind, target := range map[string]string{"Service": service, "Ingress": ingress, "Gateway": gateway, "HTTPRoute": httpRoute, "TLSRoute": tlsRoute} {
		policies[kind] = must(cluster.ParseYAML(policyYAML("p", target, "drain: {timeout: 1s}")))[0].(*v1alpha1.HoldfastPolicy)
	}
	f.Fuzz(func(t *testing.T, text string, kind uint8) {
		var spec v1alpha1.HoldfastPolicySpec
		if !json.Valid([]byte(text)) || json.Unmarshal([]byte(text), &spec) != nil {
			return // which the API server refuses
		}
		chosen := targets[int(kind)%len(targets)]
		p := policies[chosen].DeepCopy()
		p.Spec.Settings, p.CreationTimestamp = spec.Settings, now
		s, err := cluster.New(append(slices.Clone(others), p))
		if err != nil {
			t.Fatal(err)
		}
		r, before := results(s), results(s)
		result := Apply(s, Options{Controller: "c", Now: now, Forwarded: config.Defaults().Forwarded}, r)

		if chosen != "Ingress" && chosen != "Service" {
			idle := time.Minute
			want := before[0].Routes[0].Route
			want.Timeouts.Idle = &idle
			if !reflect.DeepEqual(r[0].Routes[0].Route, want) {
				t.Errorf("another's route: %+v", r[0].Routes[0].Route)
			}
		}
		c := config.Defaults()
		for n, one := range r {
			for i := range one.Listeners {
				l := one.Listeners[i].Listener
				l.Address.Port = uint16(1000 + 10*n + i)
				c.Listeners = append(c.Listeners, l)
			}
			for i := range one.Routes {
				c.Routes = append(c.Routes, one.Routes[i].Route)
			}
		}
		for _, p := range r[1].Pools {
			c.Pools = append(c.Pools, p.Pool)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("the configuration is invalid: %v", err)
		}
		if path := namedFile(reflect.ValueOf(&c).Elem()); path != "" {
			t.Errorf("the file %q is named, which isn't a Secret or ConfigMap of the namespace", path)
		}
		for _, o := range result.Statuses {
			for _, ancestor := range o.(*v1alpha1.HoldfastPolicy).Status.Ancestors {
				m := ancestor.Conditions[0].Message
				if len(m) > maxMessage+10 || !utf8.ValidString(m) || strings.Contains(m, "0XLi3XzgIqf7QnS2VkCViQ") ||
					strings.ContainsFunc(m, func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }) {
					t.Errorf("the message of a condition: %q", m)
				}
			}
		}
	})
}

// namedFile returns a path of a file in a section; "" if there is none.
func namedFile(section reflect.Value) string {
	keys := config.KeysOf(section.Type())
	for i := range keys {
		if _, ok := keys[i].Flags(); ok {
			continue
		}
		v := keys[i].Field(section)
		if keys[i].IsPath() && v.String() != "" {
			jwt, ok := section.Addr().Interface().(*config.JWT)
			inMemory := ok && keys[i].Name != "ca" && jwt.KeyText != ""
			if !inMemory || !strings.HasPrefix(v.String(), "/secret/default/") && !strings.HasPrefix(v.String(), "/configmap/default/") {
				return v.String()
			}
		}
		for v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		switch {
		case config.IsSection(v.Type()):
			if path := namedFile(v); path != "" {
				return path
			}
		case v.Kind() == reflect.Slice && config.IsSection(v.Type().Elem()):
			for i := range v.Len() {
				if path := namedFile(v.Index(i)); path != "" {
					return path
				}
			}
		}
	}
	return ""
}

// BenchmarkApply is with a policy for each of 1,000 Services and of 1,000 HTTPRoutes.
func BenchmarkApply(b *testing.B) {
	s := snapshot(b)
	r := results(s)
	var policies []string
	one := r[1]
	for i := range 1000 {
		name := fmt.Sprintf("p%d", i)
		policies = append(policies, fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: default}\nspec: {selector: {a: b}, ports: [{port: 80}]}", name),
			fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %s, namespace: default}", name),
			policyYAML(name, fmt.Sprintf(`{group: "", kind: Service, name: %s}`, name), "drain: {timeout: 60s, spread: 30s}\nreattach: {on: [drain, loss]}"),
			policyYAML("r"+name, fmt.Sprintf(`{group: gateway.networking.k8s.io, kind: HTTPRoute, name: %s}`, name), "limits: {max_message: 1MiB}\nauth: {jwt: {jwks_url: \"https://login.example.com/jwks.json\", audience: a}}"))
	}
	s = snapshot(b, policies...)
	for i, o := range s.HTTPRoutes {
		p := one.Pools[0]
		p.Service = types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
		p.Name = fmt.Sprintf("pool%d", i)
		route := one.Routes[1]
		route.Owner = translate.Owner{Object: o}
		one.Pools, one.Routes = append(one.Pools, p), append(one.Routes, route)
	}
	pools, routes := slices.Clone(one.Pools), slices.Clone(one.Routes)
	for name, cache := range map[string]*Cache{"first": nil, "again": {}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				copy(one.Pools, pools)
				copy(one.Routes, routes)
				Apply(s, Options{Controller: "c", Now: now, Forwarded: config.Defaults().Forwarded, Cache: cache}, r)
			}
		})
	}
}

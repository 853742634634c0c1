package ingress

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// values are of annotations, good and bad ones.
var values = map[string][]string{
	"affinity": {"cookie", "x"}, "session-cookie-name": {"route", "bad name;"}, "session-cookie-max-age": {"60", "-1", "x"}, "session-cookie-domain": {"example.com", "[::1]"},
	"session-cookie-path": {"/", "no"}, "upstream-hash-by": {"$remote_addr", "$nothing", ""}, "load-balance": {"ewma", "ip_hash"},
	"backend-protocol": {"HTTPS", "GRPC", "AUTO_HTTP"}, "proxy-ssl-secret": {"broken", "victim/tls", "none"}, "proxy-ssl-verify": {"on"}, "proxy-ssl-name": {"a b", "x.internal"},
	"proxy-read-timeout": {"86400", "0", "-1"}, "proxy-connect-timeout": {"999999999"}, "proxy-body-size": {"0", "1m", "x"}, "proxy-next-upstream": {"http_502", "http_999 x"},
	"auth-url": {"http://auth.example.com/", "ftp://x", "http://$host/", "http://a b"}, "auth-response-headers": {"X-User", "Host, bad name"}, "auth-type": {"basic"},
	"auth-tls-secret": {"broken", "none", "victim/ca"}, "auth-tls-match-cn": {"CN=a", "(x"}, "whitelist-source-range": {"10.0.0.0/8", "office"}, "denylist-source-range": {"192.0.2.0/24"},
	"limit-rps": {"5", "x"}, "limit-allowlist": {"10.0.0.0/8", "0.0.0.0/0", "x"}, "limit-connections": {"1"},
	"rewrite-target": {"/$1", "/x?y", "$unknown", "http://elsewhere/"}, "use-regex": {"true"}, "app-root": {"/app"}, "permanent-redirect": {"https://x/", "$nothing", "bad\nline"}, "temporal-redirect": {"/"},
	"server-alias": {"~.*", "*.example.com", "a.example.com, b.example.com", "~(", "***"}, "from-to-www-redirect": {"true"}, "ssl-passthrough": {"true"}, "force-ssl-redirect": {"true"}, "ssl-redirect": {"false"},
	"upstream-vhost": {"x.internal", "bad host"}, "custom-headers": {"headers", "victim/headers"}, "enable-cors": {"true"}, "cors-allow-origin": {"*", "https://*.example.com", "(["}, "cors-max-age": {"x\ty"},
	"configuration-snippet": {"deny all;"}, "enable-modsecurity": {"true"}, "canary": {"true"}, "canary-by-header": {"X-Canary", "bad name"}, "canary-by-header-pattern": {"("}, "canary-weight": {"50", "100"}, "unknown": {"x"},
}

var (
	names = func() (list []string) {
		for name := range values {
			list = append(list, name)
		}
		slices.Sort(list)
		return list
	}()
	hosts = []string{"a.example.com", "b.example.com", "www.a.example.com", "*.example.com", ""}
	paths = []string{"/", "/ws", "/ws/", "/admin", "/[", "/a(?!b)", "/.*", "/a//b", "/%zz", "/ws?x"}
)

// drawIngress draws an Ingress. Those that are younger have higher numbers.
func drawIngress(t *rapid.T, namespace string, number int, hosts []string) *networkingv1.Ingress {
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: fmt.Sprintf("i%d", number), Annotations: map[string]string{},
		CreationTimestamp: metav1.NewTime(time.Date(2026, 1, 1+number, 0, 0, 0, 0, time.UTC)),
	}}
	class := "holdfast"
	i.Spec.IngressClassName = &class
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 5, rapid.ID[string]).Draw(t, "annotations") {
		i.Annotations["nginx.ingress.kubernetes.io/"+name] = rapid.SampledFrom(values[name]).Draw(t, name)
	}
	backend := func() networkingv1.IngressBackend {
		service := rapid.SampledFrom([]string{"chat", "chat", "chat", "missing", "external"}).Draw(t, "service")
		return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}}
	}
	for range rapid.IntRange(0, 3).Draw(t, "rules") {
		r := networkingv1.IngressRule{Host: rapid.SampledFrom(hosts).Draw(t, "host")}
		r.HTTP = &networkingv1.HTTPIngressRuleValue{}
		for range rapid.IntRange(0, 3).Draw(t, "paths") {
			kind := rapid.SampledFrom([]networkingv1.PathType{networkingv1.PathTypeExact, networkingv1.PathTypePrefix}).Draw(t, "type")
			r.HTTP.Paths = append(r.HTTP.Paths, networkingv1.HTTPIngressPath{Path: rapid.SampledFrom(paths).Draw(t, "path"), PathType: &kind, Backend: backend()})
		}
		i.Spec.Rules = append(i.Spec.Rules, r)
	}
	if slices.Contains(hosts, "") && rapid.Bool().Draw(t, "default") {
		b := backend()
		i.Spec.DefaultBackend = &b
	}
	if rapid.Bool().Draw(t, "tls") {
		i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: rapid.SliceOfN(rapid.SampledFrom(hosts), 0, 2).Draw(t, "tls hosts"), SecretName: rapid.SampledFrom([]string{"broken", "none", ""}).Draw(t, "secret")}}
	}
	return i
}

// world are the objects beside the Ingresses.
func world(t testing.TB) []client.Object {
	objects, err := cluster.ParseYAML(`
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: holdfast}
spec: {controller: holdfast.dev/ingress}
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"victim", "evil"} {
		chat := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "chat"}}
		chat.Spec.Ports = []corev1.ServicePort{{Port: 80}}
		external := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "external"}}
		external.Spec.Type, external.Spec.ExternalName = corev1.ServiceTypeExternalName, "..bad name"
		headers := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "headers"}, Data: map[string]string{"bad name": "bad\nvalue"}}
		broken := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "broken"}, Data: map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("x"), "ca.crt": []byte("x")}}
		objects = append(objects, chat, external, headers, broken)
	}
	return objects
}

func translated(t *rapid.T, o Options, objects []client.Object, ingresses ...*networkingv1.Ingress) *translate.Result {
	all := slices.Clone(objects)
	for _, i := range ingresses {
		all = append(all, i)
	}
	s, err := cluster.New(all)
	if err != nil {
		t.Fatal(err)
	}
	r := Translate(s, o)
	c := config.Defaults()
	for _, l := range r.Listeners {
		c.Listeners = append(c.Listeners, l.Listener)
	}
	for _, r := range r.Routes {
		c.Routes = append(c.Routes, r.Route)
	}
	for _, p := range r.Pools {
		c.Pools = append(c.Pools, p.Pool)
	}
	if err := c.Validate(); err != nil {
		t.Fatalf("not valid: %v", err)
	}
	return r
}

// TestOthersStay: an Ingress with hosts of its own changes nothing of what others become,
// whatever is wrong with it, and whatever hosts it claims by annotations.
func TestOthersStay(t *testing.T) {
	objects, o := world(t), options(t)
	o.ExternalNames = true
	rapid.Check(t, func(t *rapid.T) {
		var others []*networkingv1.Ingress
		for n := range rapid.IntRange(0, 5).Draw(t, "others") {
			others = append(others, drawIngress(t, "victim", n, hosts))
		}
		namespace := rapid.SampledFrom([]string{"victim", "evil"}).Draw(t, "namespace")
		broken := drawIngress(t, namespace, 9, []string{"own.example.net", "*.own.example.net"})
		without := translated(t, o, objects, others...)
		with := translated(t, o, objects, append(others, broken)...)
		var rest translate.Result
		for _, r := range with.Routes {
			if r.Owner.Object != broken {
				rest.Routes = append(rest.Routes, r)
			}
		}
		for _, p := range with.Pools {
			if p.Owner.Object != broken {
				rest.Pools = append(rest.Pools, p)
			}
		}
		if !reflect.DeepEqual(rest.Routes, without.Routes) {
			t.Fatalf("the routes of others are\n%s\nand without it\n%s", dumped(&rest), dumped(without))
		}
		if !reflect.DeepEqual(rest.Pools, without.Pools) {
			t.Fatalf("the pools of others are\n%s\nand without it\n%s", dumped(&rest), dumped(without))
		}
	})
}

// TestOtherNamespace: an Ingress that shares hosts with older ones of another namespace
// gets requests of its own paths, and those of hosts that nobody has. All others are
// answered as without it.
func TestOtherNamespace(t *testing.T) {
	objects, o := world(t), options(t)
	rapid.Check(t, func(t *rapid.T) {
		var others []*networkingv1.Ingress
		for n := range rapid.IntRange(1, 4).Draw(t, "others") {
			others = append(others, drawIngress(t, "victim", n, hosts))
		}
		// A path that is added to a host is there at its aliases, too.
		aliased := slices.ContainsFunc(others, func(i *networkingv1.Ingress) bool {
			return i.Annotations["nginx.ingress.kubernetes.io/server-alias"] != ""
		})
		evil := drawIngress(t, "evil", 9, hosts)
		without := translated(t, o, objects, others...)
		with := translated(t, o, objects, append(others, evil)...)
		for _, listener := range []string{HTTPListener, HTTPSListener} {
			for _, host := range []string{"a.example.com", "b.example.com", "www.a.example.com", "www.b.example.com", "c.example.com", "x.y.example.com", "other.net"} {
				for _, path := range []string{"/", "/ws", "/ws/", "/ws/x", "/admin", "/app", "/other"} {
					before, after := serving(without, listener, host, path), serving(with, listener, host, path)
					switch {
					case hasPath(evil, path): // a redirect to it with a slash isn't needed any more
					case hasPath(evil, "/") && after.Redirect != nil: // to https, which is one route for all paths of a host
					case evil.Spec.DefaultBackend != nil && before.Owner.Object == nil: // it gets what nobody has
					case after.Owner.Object == evil:
						if has(evil, host) || before.Match.Host.String() != host || aliased {
							continue
						}
						t.Fatalf("%s %s%s is taken by an Ingress that doesn't have the host:\n%+v\nand before\n%+v", listener, host, path, after.Route, before.Route)
					case !reflect.DeepEqual(done(after), done(before)):
						t.Fatalf("%s %s%s is served by\n%+v\nand without it by\n%+v", listener, host, path, after.Route, before.Route)
					}
				}
			}
		}
	})
}

func has(i *networkingv1.Ingress, host string) bool {
	return slices.ContainsFunc(i.Spec.Rules, func(r networkingv1.IngressRule) bool { return r.Host == host })
}

func hasPath(i *networkingv1.Ingress, path string) bool {
	return slices.ContainsFunc(i.Spec.Rules, func(r networkingv1.IngressRule) bool {
		return slices.ContainsFunc(r.HTTP.Paths, func(p networkingv1.HTTPIngressPath) bool { return p.Path == path })
	})
}

// done is what a route does with requests.
func done(r translate.Route) config.Route {
	r.Match = config.Match{}
	return r.Route
}

// serving is the first route for a GET without header fields.
func serving(r *translate.Result, listener, host, path string) translate.Route {
	for _, r := range r.Routes {
		m := &r.Match
		if m.Listener == listener && len(m.Header) == 0 && len(m.Method) == 0 && m.Client == nil && m.ClientCert == nil && m.Not == nil &&
			pattern.MatchHost(m.Host, host) && (m.HostRegex.IsZero() || pattern.MatchRegex(m.HostRegex, host)) &&
			pattern.MatchPath(m.Path, path, 0) && pattern.MatchExactPath(m.PathExact, path, 0) && (m.PathRegex.IsZero() || pattern.MatchPathRegex(m.PathRegex, path, 0)) {
			return r
		}
	}
	return translate.Route{}
}

package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

func parse(t testing.TB, manifests ...string) []client.Object {
	t.Helper()
	objects, err := cluster.ParseYAML(manifests...)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// statusOf is the status of an object of the same type and name in a result.
func statusOf[T client.Object](t testing.TB, r *translate.Result, name string) T {
	t.Helper()
	for _, o := range r.Statuses {
		if o, ok := o.(T); ok && o.GetName() == name {
			return o
		}
	}
	t.Fatalf("there is no status of %s", name)
	panic("unreachable")
}

// TestNothingWithoutService: a Gateway's port is served once its Service has it, and its
// status says so.
func TestNothingWithoutService(t *testing.T) {
	objects := parse(t, simpleGateway)
	result := Translate(mustSnapshot(t, objects...), testOptions())
	if len(result.Listeners) != 0 || len(result.Routes) != 0 || len(result.Services) != 1 {
		t.Fatalf("before the Service exists:\n%s", dump(result))
	}
	g := statusOf[*gwv1.Gateway](t, result, "web")
	if c := g.Status.Listeners[0].Conditions; reasonOf(c, "Programmed") != "Pending" || reasonOf(g.Status.Conditions, "Programmed") == "Programmed" {
		t.Errorf("before the Service exists:\n%s", dump(result))
	}
	service := result.Services[0]
	if service.Namespace != "holdfast" || service.Spec.Selector["app"] != "holdfast" || service.Labels[translate.ManagedBy] != translate.ManagedByValue || service.Annotations[translate.GatewayRef] != "shop/web" {
		t.Errorf("the Service is %+v", service)
	}
	// The Service has its port and no address.
	result = Translate(mustSnapshot(t, append(objects, service)...), testOptions())
	g = statusOf[*gwv1.Gateway](t, result, "web")
	if len(result.Listeners) != 1 || reasonOf(g.Status.Conditions, "Programmed") != "AddressNotAssigned" || reasonOf(g.Status.Listeners[0].Conditions, "Programmed") != "Programmed" {
		t.Errorf("with a Service without an address:\n%s", dump(result))
	}
}

func reasonOf(list []metav1.Condition, kind string) string {
	for _, c := range list {
		if c.Type == kind {
			return c.Reason
		}
	}
	return ""
}

// TestTargets: ports of the pods that are in use are kept, and none is given twice.
func TestTargets(t *testing.T) {
	gateway := func(name string, ports ...int) string {
		s := "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: " + name + ", namespace: shop}\nspec:\n  gatewayClassName: holdfast\n  listeners:\n"
		for _, p := range ports {
			s += fmt.Sprintf("  - {name: p%d, port: %d, protocol: HTTP}\n", p, p)
		}
		return s
	}
	objects := parse(t, simpleGateway, gateway("a", 80, 81, 8080), gateway("b", 80))
	result, settled := settle(t, objects)
	targets := func(r *translate.Result) map[string]int32 {
		all := map[string]int32{}
		seen := map[int32]bool{}
		for _, s := range r.Services {
			for _, p := range s.Spec.Ports {
				if n := p.TargetPort.IntVal; seen[n] || n < firstTarget || n > lastTarget {
					t.Errorf("the port %d is given twice, or out of range", n)
				} else {
					seen[n] = true
					all[fmt.Sprintf("%s:%d", s.Name, p.Port)] = n
				}
			}
		}
		return all
	}
	before := targets(result)
	// Another Gateway and one port less change nothing of the others.
	for i, o := range settled {
		if o.GetName() == "a" {
			g := o.DeepCopyObject().(*gwv1.Gateway)
			g.Spec.Listeners = g.Spec.Listeners[1:]
			settled[i] = g
		}
	}
	settled = append(settled, parse(t, gateway("c", 80, 443))...)
	result, _ = settle(t, settled)
	after := targets(result)
	for name, target := range before {
		if now, there := after[name]; there && now != target {
			t.Errorf("%s was %d, and is %d", name, target, now)
		}
	}
	if len(after) != 6 {
		t.Errorf("%d ports, want 6: %v", len(after), after)
	}
}

// TestForeignService: a Service with the name of a Gateway's that isn't the Gateway's, or a
// target port that somebody changed, isn't believed.
func TestForeignService(t *testing.T) {
	objects := parse(t, simpleGateway)
	name := serviceName(types.NamespacedName{Namespace: "shop", Name: "web"})
	foreign := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "holdfast", Name: name},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(12345)}}}}
	if r := Translate(mustSnapshot(t, append(objects, foreign)...), testOptions()); len(r.Listeners) != 0 {
		t.Errorf("with a foreign Service:\n%s", dump(r))
	}
	own := foreign.DeepCopy()
	own.Annotations = map[string]string{translate.GatewayRef: "shop/web"}
	own.Spec.Ports[0].TargetPort = intstr.FromInt32(9900)
	r := Translate(mustSnapshot(t, append(objects, own)...), testOptions())
	if len(r.Listeners) != 0 || r.Services[0].Spec.Ports[0].TargetPort.IntVal < firstTarget {
		t.Errorf("with a target port out of range:\n%s", dump(r))
	}
}

// TestServiceOutlivesMistakes: a Gateway that is wrong for a while keeps its Service, and so
// its address and its ports.
func TestServiceOutlivesMistakes(t *testing.T) {
	good, settled := settle(t, parse(t, simpleGateway))
	for name, mistake := range map[string]func(*gwv1.Gateway){
		"an address": func(g *gwv1.Gateway) {
			g.Spec.Addresses = []gwv1.GatewaySpecAddress{{Value: "not an address"}}
		},
		"no valid listener": func(g *gwv1.Gateway) { g.Spec.Listeners[0].Protocol = "SCTP" },
	} {
		objects := slices.Clone(settled)
		for i, o := range objects {
			if g, ok := o.(*gwv1.Gateway); ok {
				g = g.DeepCopy()
				mistake(g)
				objects[i] = g
			}
		}
		bad, objects := settle(t, objects)
		if len(bad.Listeners) != 0 || len(bad.Services) != 1 {
			t.Errorf("%s: %d listeners and %d Services", name, len(bad.Listeners), len(bad.Services))
		}
		for i, o := range objects {
			if _, ok := o.(*gwv1.Gateway); ok {
				objects[i] = parse(t, simpleGateway)[1]
			}
		}
		if again, _ := settle(t, objects); !reflect.DeepEqual(again.Listeners, good.Listeners) {
			t.Errorf("%s: the listeners are %v afterwards, and were %v", name, again.Listeners, good.Listeners)
		}
	}
}

// TestPoolsOutliveMistakes: what can't be served for a while keeps its pools, as sessions are
// closed whose pool has gone.
func TestPoolsOutliveMistakes(t *testing.T) {
	text, err := os.ReadFile("testdata/https.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pools := func(r *translate.Result) (names []string) {
		for _, p := range r.Pools {
			names = append(names, p.Name)
		}
		slices.Sort(names)
		return names
	}
	good, settled := settle(t, parse(t, withCertificates(testca.New(t), string(text))))
	want := pools(good)
	for name, mistake := range map[string]func(client.Object) client.Object{
		"without Secrets":    func(o client.Object) client.Object { return unless[*corev1.Secret](o) },
		"without ConfigMaps": func(o client.Object) client.Object { return unless[*corev1.ConfigMap](o) },
		"without the Gateway's Service": func(o client.Object) client.Object {
			if o.GetNamespace() == "holdfast" {
				return nil
			}
			return o
		},
		"with a filter that isn't supported": func(o client.Object) client.Object {
			if route, ok := o.(*gwv1.HTTPRoute); ok {
				route = route.DeepCopy()
				route.Spec.Rules[2].Filters = []gwv1.HTTPRouteFilter{{Type: "Other"}}
				return route
			}
			return o
		},
		"without a GatewayClass": func(o client.Object) client.Object { return unless[*gwv1.GatewayClass](o) },
		"with parameters": func(o client.Object) client.Object {
			if class, ok := o.(*gwv1.GatewayClass); ok {
				class = class.DeepCopy()
				class.Spec.ParametersRef = &gwv1.ParametersReference{Kind: "X", Name: "x"}
				return class
			}
			return o
		},
	} {
		var objects []client.Object
		for _, o := range settled {
			if o = mistake(o); o != nil {
				objects = append(objects, o)
			}
		}
		bad := Translate(mustSnapshot(t, objects...), testOptions())
		if got := pools(bad); !slices.Equal(got, want) {
			t.Errorf("%s, the pools are %v, want %v", name, got, want)
		}
		if n := len(bad.Services); n != len(good.Services) {
			t.Errorf("%s, there are %d Services, want %d", name, n, len(good.Services))
		}
	}
}

func unless[T client.Object](o client.Object) client.Object {
	if _, ok := o.(T); ok {
		return nil
	}
	return o
}

// TestRoom: neither an object nor a namespace nor all together become more than there is
// room for.
func TestRoom(t *testing.T) {
	var r room
	if r.take("a", maxRoutes+1).ok() {
		t.Error("one object has too many routes")
	}
	taken := map[string]int{}
	for i := range 100 {
		namespace := fmt.Sprint(i % 10)
		if r.take(namespace, maxRoutes).ok() {
			taken[namespace] += maxRoutes
		}
	}
	all := 0
	for namespace, n := range taken {
		if all += n; n > maxNamespaceRoutes {
			t.Errorf("%d routes in the namespace %s", n, namespace)
		}
	}
	if all > maxAllRoutes || all < maxAllRoutes-maxRoutes {
		t.Errorf("%d routes", all)
	}
}

func TestServiceName(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range []types.NamespacedName{
		{Namespace: "a", Name: "b"}, {Namespace: "a-b", Name: "c"}, {Namespace: "a", Name: "b-c"}, {Namespace: "a", Name: "b.c"},
		{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("g", 253)}, {Namespace: strings.Repeat("n", 63), Name: strings.Repeat("g", 252) + "h"},
	} {
		name := serviceName(n)
		if errs := validation.IsDNS1035Label(name); errs != nil || seen[name] {
			t.Errorf("%s has the name %q: %v", n, name, errs)
		}
		seen[name] = true
	}
}

// TestTimesOfConditions: a condition that stays keeps its time, one that changes gets the
// present one, and those of others stay.
func TestTimesOfConditions(t *testing.T) {
	objects := parse(t, simpleGateway)
	_, settled := settle(t, objects)
	for i, o := range settled {
		if g, ok := o.(*gwv1.Gateway); ok {
			g = g.DeepCopy()
			g.Generation = 2
			g.Status.Conditions = append(g.Status.Conditions, metav1.Condition{Type: "example.com/Theirs", Status: "True", Reason: "X", ObservedGeneration: 1})
			g.Spec.Listeners[0].Protocol = gwv1.UDPProtocolType
			settled[i] = g
		}
	}
	o := testOptions()
	o.Now = o.Now.Add(time.Hour)
	g := statusOf[*gwv1.Gateway](t, Translate(mustSnapshot(t, settled...), o), "web")
	for _, c := range g.Status.Conditions {
		want, generation := testOptions().Now, int64(2)
		switch c.Type {
		case "Accepted", "Programmed":
			want = o.Now
		case "example.com/Theirs":
			want, generation = time.Time{}, 1
		}
		if !c.LastTransitionTime.Time.Equal(want) || c.ObservedGeneration != generation {
			t.Errorf("%s has the time %s and the generation %d, want %s and %d", c.Type, c.LastTransitionTime, c.ObservedGeneration, want, generation)
		}
	}
	if len(g.Status.Conditions) != 4 {
		t.Errorf("the conditions are %v", g.Status.Conditions)
	}
}

// TestOthersEntries: the entries of other controllers stay where they are.
func TestOthersEntries(t *testing.T) {
	objects := parse(t, simpleGateway, `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec: {parentRefs: [{name: theirs}, {name: web}], rules: [{}]}
status:
  parents:
  - {controllerName: holdfast.dev/gateway, parentRef: {name: web}, conditions: []}
  - {controllerName: example.com/theirs, parentRef: {name: theirs}, conditions: []}
  - {controllerName: example.com/more, parentRef: {name: web}, conditions: []}
`)
	r, _ := settle(t, objects)
	var names []string
	for _, p := range statusOf[*gwv1.HTTPRoute](t, r, "r").Status.Parents {
		names = append(names, string(p.ControllerName))
	}
	if got := strings.Join(names, " "); got != "holdfast.dev/gateway example.com/theirs example.com/more" {
		t.Errorf("the entries are %s", got)
	}
}

// TestTooManyRoutes: what one HTTPRoute becomes is bounded.
func TestTooManyRoutes(t *testing.T) {
	objects := parse(t, simpleGateway)
	route := &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "big"}}
	route.Spec.ParentRefs = []gwv1.ParentReference{{Name: "web"}}
	for i := range 100 {
		route.Spec.Hostnames = append(route.Spec.Hostnames, gwv1.Hostname(fmt.Sprintf("h%d.example.com", i)))
		route.Spec.Rules = append(route.Spec.Rules, gwv1.HTTPRouteRule{})
	}
	r, _ := settle(t, append(objects, route))
	if len(r.Routes) != 0 || reasonOf(statusOf[*gwv1.HTTPRoute](t, r, "big").Status.Parents[0].Conditions, "Accepted") != "UnsupportedValue" {
		t.Errorf("%d routes", len(r.Routes))
	}
}

func TestFeatures(t *testing.T) {
	list := supportedFeatures()
	if len(list) > 64 { // the most that the API server takes
		t.Errorf("%d features", len(list))
	}
	for i, f := range list {
		if i > 0 && list[i-1].Name >= f.Name {
			t.Errorf("%s is before %s", list[i-1].Name, f.Name)
		}
	}
}

// FuzzTranslate: no manifest makes Translate panic or the configuration invalid, and equal
// snapshots give equal results.
func FuzzTranslate(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	ca := testca.New(f)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(withCertificates(ca, string(text)))
	}
	f.Fuzz(func(t *testing.T, manifest string) {
		objects, err := cluster.ParseYAML(manifest)
		if err != nil {
			return
		}
		s, err := cluster.New(objects)
		if err != nil {
			return
		}
		result := Translate(s, testOptions())
		checkValid(t, result)
		if again := Translate(s, testOptions()); !reflect.DeepEqual(result, again) {
			t.Errorf("two results of one snapshot:\n%s\n%s", dump(result), dump(again))
		}
	})
}

// BenchmarkTranslate: 1,000 HTTPRoutes with five rules each.
func BenchmarkTranslate(b *testing.B) {
	objects := parse(b, simpleGateway)
	for i := range 1000 {
		var rules strings.Builder
		for j := range 5 {
			fmt.Fprintf(&rules, "  - {matches: [{path: {value: /%d}}], backendRefs: [{name: s%d, port: 80}]}\n", j, i)
		}
		objects = append(objects, parse(b, fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: s%d, namespace: shop}\nspec: {ports: [{port: 80}]}\n", i),
			fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r%d, namespace: shop}\nspec:\n  parentRefs: [{name: web}]\n  hostnames: [h%d.example.com]\n  rules:\n%s", i, i, rules.String()))...)
	}
	_, settled := settle(b, objects)
	s := mustSnapshot(b, settled...)
	for b.Loop() {
		Translate(s, testOptions())
	}
}

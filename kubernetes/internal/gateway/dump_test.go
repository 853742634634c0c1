package gateway

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// testOptions are those of all tests.
func testOptions() Options {
	return Options{
		ControllerName: "holdfast.dev/gateway", Namespace: "holdfast",
		Selector: map[string]string{"app": "holdfast"},
		Now:      time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

// settle translates until the Services that a Gateway should have are there, as the leader
// and a load balancer make them, and the statuses are those of the result. It fails if
// that takes more than a few rounds.
func settle(t testing.TB, objects []client.Object) (*translate.Result, []client.Object) {
	t.Helper()
	for range 5 {
		s, err := cluster.New(slices.Clone(objects))
		if err != nil {
			t.Fatal(err)
		}
		result := Translate(s, testOptions())
		checkValid(t, result)
		next := slices.Clone(objects)
		for _, status := range result.Statuses {
			next = replace(next, status)
		}
		for i, service := range result.Services {
			service = service.DeepCopy()
			service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: fmt.Sprintf("192.0.2.%d", i+1)}}
			if service.Spec.LoadBalancerIP != "" {
				service.Status.LoadBalancer.Ingress[0].IP = service.Spec.LoadBalancerIP
			}
			next = replace(next, service)
		}
		if equality.Semantic.DeepEqual(next, objects) {
			return result, objects
		}
		objects = next
	}
	t.Fatal("the statuses or Services change with each translation")
	return nil, nil
}

// replace puts an object in place of that of the same type and name.
func replace(objects []client.Object, o client.Object) []client.Object {
	for i, other := range objects {
		if reflect.TypeOf(other) == reflect.TypeOf(o) && nameOf(other) == nameOf(o) {
			objects[i] = o
			return objects
		}
	}
	return append(objects, o)
}

// merged is the configuration of a result, as the program makes it.
func merged(r *translate.Result) config.Config {
	c := config.Defaults()
	for _, l := range r.Listeners {
		c.Listeners = append(c.Listeners, l.Listener)
	}
	for _, r := range r.Routes {
		c.Routes = append(c.Routes, r.Route)
	}
	for _, l := range r.Listeners {
		if !l.Opaque() {
			c.Routes = append(c.Routes, config.Route{Match: config.Match{Listener: l.Name}, Respond: status(404)})
		}
	}
	for _, p := range r.Pools {
		c.Pools = append(c.Pools, p.Pool)
	}
	return c
}

// checkValid fails unless the configuration is valid.
func checkValid(t testing.TB, r *translate.Result) {
	t.Helper()
	if len(r.Listeners) == 0 {
		return
	}
	c := merged(r)
	if err := c.Validate(); err != nil {
		t.Errorf("the configuration is invalid: %v", err)
	}
}

// dump writes what of a result is of interest as text.
func dump(r *translate.Result) string {
	var b strings.Builder
	for _, l := range r.Listeners {
		fmt.Fprintf(&b, "listener %s\n", text(reflect.ValueOf(l.Listener)))
	}
	for _, route := range r.Routes {
		fmt.Fprintf(&b, "route %s (%s/%s rule %d %s)\n", text(reflect.ValueOf(route.Route)), route.Owner.Object.GetNamespace(), route.Owner.Object.GetName(), route.Owner.Rule, strings.Join(route.Sections, ","))
	}
	for _, p := range r.Pools {
		fmt.Fprintf(&b, "pool %q feed %s of %s", p.Name, p.Feed, p.Service)
		if p.TLS != nil {
			fmt.Fprintf(&b, " tls %s", text(reflect.ValueOf(*p.TLS)))
		}
		if p.Affinity.Cookie != nil {
			fmt.Fprintf(&b, " cookie %s", text(reflect.ValueOf(*p.Affinity.Cookie)))
		}
		if p.RetryOn != nil {
			fmt.Fprintf(&b, " retry_on %v", p.RetryOn)
		}
		b.WriteString("\n")
	}
	for _, s := range r.Services {
		fmt.Fprintf(&b, "service %s/%s %s", s.Namespace, s.Name, s.Spec.Type)
		for _, p := range s.Spec.Ports {
			fmt.Fprintf(&b, " %d→%s", p.Port, p.TargetPort.String())
		}
		b.WriteString("\n")
	}
	for _, o := range r.Statuses {
		dumpStatus(&b, o)
	}
	for _, e := range r.Events {
		fmt.Fprintf(&b, "event %s: %s: %s\n", nameOf(e.Object), e.Reason, e.Message)
	}
	return b.String()
}

func dumpStatus(b *strings.Builder, o client.Object) {
	fmt.Fprintf(b, "status %T %s", o, strings.TrimPrefix(nameOf(o).String(), "/"))
	conditions := func(list []metav1.Condition) {
		for _, c := range list {
			fmt.Fprintf(b, "\n    %s %s %s: %s", c.Type, c.Status, c.Reason, c.Message)
			if c.ObservedGeneration != o.GetGeneration() {
				fmt.Fprintf(b, " (generation %d)", c.ObservedGeneration)
			}
		}
	}
	parents := func(list []gwv1.RouteParentStatus) {
		for _, p := range list {
			fmt.Fprintf(b, "\n  parent %s %s %s %d of %s", deref(p.ParentRef.Kind, ""), p.ParentRef.Name, deref(p.ParentRef.SectionName, ""), deref(p.ParentRef.Port, 0), p.ControllerName)
			conditions(p.Conditions)
		}
	}
	listener := func(name gwv1.SectionName, attached int32, kinds []gwv1.RouteGroupKind, list []metav1.Condition) {
		fmt.Fprintf(b, "\n  listener %s: %d routes, kinds", name, attached)
		for _, k := range kinds {
			fmt.Fprintf(b, " %s", k.Kind)
		}
		conditions(list)
	}
	switch o := o.(type) {
	case *gwv1.GatewayClass:
		conditions(o.Status.Conditions)
	case *gwv1.Gateway:
		for _, a := range o.Status.Addresses {
			fmt.Fprintf(b, " %s", a.Value)
		}
		fmt.Fprintf(b, " (%d sets)", deref(o.Status.AttachedListenerSets, 0))
		conditions(o.Status.Conditions)
		for _, l := range o.Status.Listeners {
			listener(l.Name, l.AttachedRoutes, l.SupportedKinds, l.Conditions)
		}
	case *gwv1.ListenerSet:
		conditions(o.Status.Conditions)
		for _, l := range o.Status.Listeners {
			listener(l.Name, l.AttachedRoutes, l.SupportedKinds, l.Conditions)
		}
	case *gwv1.HTTPRoute:
		parents(o.Status.Parents)
	case *gwv1.TLSRoute:
		parents(o.Status.Parents)
	case *gwv1.TCPRoute:
		parents(o.Status.Parents)
	case *gwv1.BackendTLSPolicy:
		for _, a := range o.Status.Ancestors {
			fmt.Fprintf(b, "\n  ancestor %s of %s", a.AncestorRef.Name, a.ControllerName)
			conditions(a.Conditions)
		}
	}
	b.WriteString("\n")
}

// text writes the keys of a section that are set.
func text(v reflect.Value) string {
	if s, ok := v.Interface().(fmt.Stringer); ok && v.Type().PkgPath() != "github.com/holdfast-ws/holdfast/internal/config" {
		return s.String()
	}
	switch v.Kind() {
	case reflect.Pointer:
		return text(v.Elem())
	case reflect.Struct:
		if p, ok := v.Interface().(config.PEM); ok {
			return p.Name
		}
		var parts []string
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && !v.Field(i).IsZero() {
				parts = append(parts, f.Name+"="+text(v.Field(i)))
			}
		}
		return "{" + strings.Join(parts, " ") + "}"
	case reflect.Slice, reflect.Array:
		var parts []string
		for i := range v.Len() {
			parts = append(parts, text(v.Index(i)))
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	return fmt.Sprint(v.Interface())
}

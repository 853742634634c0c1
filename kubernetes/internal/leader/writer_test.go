package leader

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const manifests = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: chat, namespace: shop, annotations: {kept: "yes"}}
---
apiVersion: v1
kind: Service
metadata:
  name: gw-old
  namespace: holdfast
  labels: {app.kubernetes.io/managed-by: holdfast, app.kubernetes.io/instance: one}
  annotations: {holdfast.dev/gateway: shop/old}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: holdfast}
spec: {controllerName: holdfast.dev/gateway}
---
apiVersion: v1
kind: Service
metadata:
  name: gw-other
  namespace: holdfast
  labels: {app.kubernetes.io/managed-by: holdfast, app.kubernetes.io/instance: two}
  annotations: {holdfast.dev/gateway: shop/other}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: chart, namespace: holdfast, labels: {app.kubernetes.io/managed-by: Helm, app.kubernetes.io/instance: one}}
spec: {ports: [{port: 80}]}
`

// world is a Writer with an API server in memory.
type world struct {
	*Writer
	client client.Client
	calls  []string // what was written
	refuse error    // what the API server answers to it
	stale  int
}

func newWorld(t *testing.T) *world {
	w := &world{}
	objects, err := cluster.ParseYAML(manifests)
	if err != nil {
		t.Fatal(err)
	}
	note := func(call string, o client.Object) error {
		w.calls = append(w.calls, call+" "+o.GetName())
		return w.refuse
	}
	w.client = fake.NewClientBuilder().WithScheme(cluster.NewScheme()).WithObjects(objects...).WithStatusSubresource(&networkingv1.Ingress{}).WithInterceptorFuncs(interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := note("status", o); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := note("create", o); err != nil {
				return err
			}
			return c.Create(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := note("patch", o); err != nil {
				return err
			}
			return c.Patch(ctx, o, p, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if err := note("delete", o); err != nil {
				return err
			}
			return c.Delete(ctx, o, opts...)
		},
	}).Build()
	w.Writer = NewWriter(Options{Client: w.client, Log: slog.New(slog.DiscardHandler), Namespace: "holdfast", Instance: "one", DeleteAfter: time.Nanosecond, Stale: func() { w.stale++ }})
	return w
}

// snapshot is what the API server has.
func (w *world) snapshot(t *testing.T) *cluster.Snapshot {
	var ingresses networkingv1.IngressList
	var services corev1.ServiceList
	var classes gatewayv1.GatewayClassList
	var gateways gatewayv1.GatewayList
	if err := errors.Join(w.client.List(t.Context(), &ingresses), w.client.List(t.Context(), &services), w.client.List(t.Context(), &classes), w.client.List(t.Context(), &gateways)); err != nil {
		t.Fatal(err)
	}
	var all []client.Object
	for i := range ingresses.Items {
		all = append(all, &ingresses.Items[i])
	}
	for i := range services.Items {
		all = append(all, &services.Items[i])
	}
	for i := range classes.Items {
		all = append(all, &classes.Items[i])
	}
	for i := range gateways.Items {
		all = append(all, &gateways.Items[i])
	}
	s, err := cluster.New(all)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wanted has an address for the Ingress and a Service.
func (w *world) wanted(t *testing.T) *Wanted {
	s := w.snapshot(t)
	ingress := s.Ingresses[0].DeepCopy()
	ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}
	return &Wanted{Snapshot: s, Statuses: []client.Object{ingress}, Services: []*corev1.Service{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "holdfast", Name: "gw-new", Annotations: map[string]string{translate.GatewayRef: "shop/new"}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(10000)}}},
	}}}
}

func (w *world) expect(t *testing.T, what string, calls ...string) {
	t.Helper()
	if !slices.Equal(w.calls, calls) {
		t.Errorf("%s: %q, want %q", what, w.calls, calls)
	}
	w.calls = nil
}

func TestWriter(t *testing.T) {
	w := newWorld(t)
	first := w.wanted(t)
	w.write(t.Context(), first)
	w.expect(t, "the first time", "status chat", "create gw-new", "delete gw-old")
	w.write(t.Context(), first)
	w.expect(t, "again, before the snapshot shows it", "create gw-new", "delete gw-old") // which does nothing
	second := w.wanted(t)
	if i := second.Snapshot.Ingresses[0]; i.Annotations["kept"] != "yes" || i.Status.LoadBalancer.Ingress[0].IP != "192.0.2.1" {
		t.Errorf("the Ingress is %v", i)
	}
	w.write(t.Context(), second)
	w.expect(t, "when all is there")
	if s := w.snapshot(t); s.Service("holdfast", "gw-other") == nil || s.Service("holdfast", "chart") == nil || s.Service("holdfast", "gw-old") != nil {
		t.Error("a Service of somebody else was deleted, or its own wasn't")
	}
	second.Services[0].Spec.Ports[0].TargetPort = intstr.FromInt32(10001)
	w.write(t.Context(), second)
	w.expect(t, "after a change", "patch gw-new")
}

func TestConflict(t *testing.T) {
	w := newWorld(t)
	w.refuse = apierrors.NewConflict(schema.GroupResource{}, "chat", errors.New("changed"))
	if w.write(t.Context(), w.wanted(t)) || w.stale == 0 {
		t.Errorf("a conflict asks for %d new snapshots", w.stale)
	}
	w.refuse, w.calls = nil, nil
	w.write(t.Context(), w.wanted(t))
	w.expect(t, "after the conflict", "status chat", "create gw-new", "delete gw-old")
}

func TestServiceOfSomebodyElse(t *testing.T) {
	w := newWorld(t)
	wanted := w.wanted(t)
	wanted.Services[0].Name = "chart"
	wanted.Services = append(wanted.Services, wanted.Services[0].DeepCopy())
	wanted.Services[1].Namespace = "shop"
	w.write(t.Context(), wanted)
	w.expect(t, "a name that is taken, and another namespace", "status chat", "delete gw-old")
}

// TestServicesStay: with a Service goes the address by which clients come, so it is deleted
// only once its Gateway is gone for good.
func TestServicesStay(t *testing.T) {
	w := newWorld(t)
	gateway := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old"}, Spec: gatewayv1.GatewaySpec{GatewayClassName: "holdfast"}}
	class := w.snapshot(t).GatewayClasses[0].DeepCopy()
	unwanted := func() {
		for range 2 {
			w.write(t.Context(), &Wanted{Snapshot: w.snapshot(t)})
		}
	}
	if err := errors.Join(w.client.Create(t.Context(), gateway), w.client.Delete(t.Context(), class)); err != nil {
		t.Fatal(err)
	}
	w.calls = nil
	unwanted()
	w.expect(t, "no class is there")
	class.ResourceVersion, class.Name = "", "other"
	if err := w.client.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	w.calls = nil
	unwanted()
	w.expect(t, "the class of the Gateway is away")
	if err := w.client.Delete(t.Context(), gateway); err != nil {
		t.Fatal(err)
	}
	w.calls = nil
	w.options.DeleteAfter = time.Hour
	unwanted()
	w.expect(t, "the Gateway is gone since a moment")
	w.options.DeleteAfter = time.Nanosecond
	unwanted()
	w.expect(t, "the Gateway is gone", "delete gw-old")
}

// TestBrake: an object that somebody else changes each time is left alone for a while.
func TestBrake(t *testing.T) {
	w := newWorld(t)
	for range 2 * maxWrites {
		clear(w.written)
		wanted := w.wanted(t)
		wanted.Snapshot.Ingresses[0].Status.LoadBalancer.Ingress = nil
		wanted.Snapshot.Ingresses[0].ResourceVersion = w.snapshot(t).Ingresses[0].ResourceVersion
		wanted.Services = nil
		w.write(t.Context(), wanted)
	}
	if got := len(slices.DeleteFunc(w.calls, func(c string) bool { return c != "status chat" })); got != maxWrites {
		t.Errorf("the status was written %d times, want %d", got, maxWrites)
	}
}

func TestUpdatedKeepsWhatOthersSet(t *testing.T) {
	actual := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"theirs": "1"}, Annotations: map[string]string{"cloud": "1"}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.0.9", Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080}, {Port: 81, NodePort: 30081}}},
	}
	desired := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"ours": "1"}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 81}, {Port: 82}}},
	}
	next := updated(actual, desired)
	if next.Labels["theirs"] != "1" || next.Labels["ours"] != "1" || next.Annotations["cloud"] != "1" || next.Spec.ClusterIP != "10.96.0.9" {
		t.Errorf("what others set is gone: %v", next)
	}
	if p := next.Spec.Ports; len(p) != 2 || p[0].NodePort != 30081 || p[1].NodePort != 0 || p[0].Protocol != corev1.ProtocolTCP {
		t.Errorf("ports are %v", p)
	}
	desired.Spec.Type = corev1.ServiceTypeClusterIP
	if p := updated(actual, desired).Spec.Ports; p[0].NodePort != 0 {
		t.Errorf("a ClusterIP has node ports: %v", p)
	}
}

func TestEventsOnce(t *testing.T) {
	recorder := record.NewFakeRecorder(10)
	e := &Events{recorder: recorder}
	object := func(generation int64) client.Object {
		return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "chat", UID: "1", Generation: generation}}
	}
	event := func(generation int64, message string) translate.Event {
		return translate.Event{Object: object(generation), Warning: true, Reason: "NotCarriedOver", Message: message}
	}
	for _, list := range [][]translate.Event{
		{event(1, "a"), event(1, "a"), event(1, "b")},
		{event(1, "b"), event(1, "a")},
		{event(2, "a"), {Message: "of no object"}},
		{},
		{event(2, "a")}, // it was gone meanwhile
	} {
		e.report(list)
	}
	close(recorder.Events)
	var got []string
	for text := range recorder.Events {
		got = append(got, text)
	}
	if want := []string{"Warning NotCarriedOver a", "Warning NotCarriedOver b", "Warning NotCarriedOver a", "Warning NotCarriedOver a"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestCut(t *testing.T) {
	for in, want := range map[string]string{
		"fine":                    "fine",
		"two\nlines\x1b[31m\x00":  "two\nlines?[31m?",
		"not \xff UTF-8":          "not ? UTF-8",
		strings.Repeat("ä", 1000): strings.Repeat("ä", 510) + "…",
	} {
		if got := cut(in); got != want || len(got) > maxMessage || !utf8.ValidString(got) {
			t.Errorf("cut(%q) = %q, want %q", in, got, want)
		}
	}
}

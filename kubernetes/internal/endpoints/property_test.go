package endpoints

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
)

// TestSlicesMakeNoDifference: however endpoints are divided among slices, in whatever
// order, and some of them in several slices, the list is the same, and has each name and
// each address once.
func TestSlicesMakeNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		objects := drawObjects(t)
		endpoints := rapid.SliceOfN(rapid.Custom(drawEndpoint), 0, 12).Draw(t, "endpoints")
		want := Members(snapshot(t, objects, divide(t, endpoints, "first")), "shop/chat:80", Options{})
		var again []placed
		if len(endpoints) > 0 {
			again = rapid.SliceOfN(rapid.SampledFrom(endpoints), 0, 5).Draw(t, "again")
		}
		got := Members(snapshot(t, objects, divide(t, slices.Concat(endpoints, again), "second")), "shop/chat:80", Options{})
		if !slices.Equal(got, want) {
			t.Fatalf("one division gives %v, another %v", want, got)
		}
		names, addresses := map[string]bool{}, map[string]bool{}
		for i, m := range got {
			if names[m.Name] || addresses[m.Address] {
				t.Fatalf("%s or its address is twice in %v", m.Name, got)
			}
			names[m.Name], addresses[m.Address] = true, true
			if i > 0 && got[i-1].Name >= m.Name {
				t.Fatalf("%v isn't sorted", got)
			}
		}
		for _, m := range got {
			if pod := deleted(objects, m.Name); pod != nil && m.State != discovery.Terminating && onlyOf(endpoints, pod) {
				t.Fatalf("%s is deleted, and its member is %v", m.Name, m)
			}
		}
	})
}

// placed is an endpoint with the kind of slice that it is in.
type placed struct {
	ip, pod string
	uid     types.UID
	state   int
}

func drawEndpoint(t *rapid.T) placed {
	p := placed{
		ip:    rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2"}).Draw(t, "ip"),
		pod:   rapid.SampledFrom([]string{"", "chat-1", "chat-2", "chat-3"}).Draw(t, "pod"),
		state: rapid.IntRange(0, 2).Draw(t, "state"),
	}
	if p.pod != "" {
		p.uid = types.UID(rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "uid"))
	}
	return p
}

func (p placed) endpoint() discoveryv1.Endpoint {
	yes, no := true, false
	e := discoveryv1.Endpoint{Addresses: []string{p.ip}}
	if p.pod != "" {
		e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: p.pod, UID: p.uid}
	}
	switch p.state {
	case 1:
		e.Conditions.Ready = &no
	case 2:
		e.Conditions.Ready, e.Conditions.Terminating = &no, &yes
	}
	return e
}

// drawObjects returns a Service and Pods, some of which are deleted.
func drawObjects(t *rapid.T) []client.Object {
	families := [][]corev1.IPFamily{nil, {"IPv4"}, {"IPv6"}, {"IPv4", "IPv6"}, {"IPv6", "IPv4"}}
	objects := []client.Object{&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "chat"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, IPFamilies: rapid.SampledFrom(families).Draw(t, "families")},
	}}
	for _, name := range []string{"chat-1", "chat-2", "chat-3"} {
		pod := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(rapid.SampledFrom([]string{"1", "2"}).Draw(t, "uid"))}}
		if rapid.Bool().Draw(t, "deleted") {
			pod.DeletionTimestamp = &metav1.Time{Time: time.Date(2026, 11, 29, 16, 0, 30, 0, time.UTC)}
		}
		if rapid.Bool().Draw(t, "exists") {
			objects = append(objects, pod)
		}
	}
	return objects
}

// divide puts endpoints into slices in some order.
func divide(t *rapid.T, endpoints []placed, label string) (all []client.Object) {
	made := map[string]*discoveryv1.EndpointSlice{}
	for _, p := range rapid.Permutation(endpoints).Draw(t, label) {
		family := discoveryv1.AddressTypeIPv4
		if p.ip[0] == 'f' {
			family = discoveryv1.AddressTypeIPv6
		}
		name := fmt.Sprintf("%s-%d", family, rapid.IntRange(0, 3).Draw(t, "slice"))
		slice := made[name]
		if slice == nil {
			port := int32(8080)
			slice = &discoveryv1.EndpointSlice{
				ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "chat"}},
				AddressType: family, Ports: []discoveryv1.EndpointPort{{Port: &port}},
			}
			made[name] = slice
			all = append(all, slice)
		}
		slice.Endpoints = append(slice.Endpoints, p.endpoint())
	}
	return all
}

func snapshot(t *rapid.T, lists ...[]client.Object) *cluster.Snapshot {
	s, err := cluster.New(slices.Concat(lists...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func deleted(objects []client.Object, name string) client.Object {
	for _, o := range objects[1:] {
		if o.GetName() == name && o.GetDeletionTimestamp() != nil {
			return o
		}
	}
	return nil
}

// onlyOf reports whether all endpoints of a Pod's name are of that Pod.
func onlyOf(endpoints []placed, pod client.Object) bool {
	return !slices.ContainsFunc(endpoints, func(p placed) bool {
		return p.pod == pod.GetName() && p.uid != "" && p.uid != pod.GetUID()
	})
}

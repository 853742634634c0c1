package ingress

import (
	"fmt"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
)

// BenchmarkTranslate is of 1,000 Ingresses of one host and two paths each, as after each
// change of a cluster.
func BenchmarkTranslate(b *testing.B) {
	objects := world(b)
	class, prefix := "holdfast", networkingv1.PathTypePrefix
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "chat", Port: networkingv1.ServiceBackendPort{Number: 80}}}
	for n := range 1000 {
		i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
			Namespace: "victim", Name: fmt.Sprintf("i%d", n), CreationTimestamp: metav1.NewTime(time.Unix(int64(n), 0)),
			Annotations: map[string]string{"nginx.ingress.kubernetes.io/affinity": "cookie", "nginx.ingress.kubernetes.io/proxy-read-timeout": "86400"},
		}}
		i.Spec.IngressClassName = &class
		i.Spec.Rules = []networkingv1.IngressRule{{Host: fmt.Sprintf("h%d.example.com", n), IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
			Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: backend}, {Path: "/ws", PathType: &prefix, Backend: backend}},
		}}}}
		objects = append(objects, i)
	}
	s, err := cluster.New(objects)
	if err != nil {
		b.Fatal(err)
	}
	o := options(b)
	for b.Loop() {
		if r := Translate(s, o); len(r.Routes) != 4002 || len(r.Events) != 1000 {
			b.Fatalf("%d routes, %d events", len(r.Routes), len(r.Events))
		}
	}
}

package ingress

import (
	"fmt"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
)

// TestBounds: one Ingress, which may have more than a megabyte, becomes some thousand
// routes at most.
func TestBounds(t *testing.T) {
	var aliases []string
	for n := range 15_000 {
		aliases = append(aliases, fmt.Sprintf("a%d.example", n))
	}
	for _, tt := range []struct{ rules, paths int }{{1, 1}, {1, 900}, {1, 15_000}, {10, 300}, {5_000, 1}} {
		class, prefix := "holdfast", networkingv1.PathTypePrefix
		i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: "large", Annotations: map[string]string{"nginx.ingress.kubernetes.io/server-alias": strings.Join(aliases, ",")}}}
		i.Spec.IngressClassName = &class
		backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "chat", Port: networkingv1.ServiceBackendPort{Number: 80}}}
		for r := range tt.rules {
			rule := networkingv1.IngressRule{Host: fmt.Sprintf("h%d.example.com", r), IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{}}}
			for p := range tt.paths {
				rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1.HTTPIngressPath{Path: fmt.Sprintf("/p%d/", p), PathType: &prefix, Backend: backend})
			}
			i.Spec.Rules = append(i.Spec.Rules, rule)
		}
		s, err := cluster.New(append(world(t), i))
		if err != nil {
			t.Fatal(err)
		}
		r := Translate(s, options(t))
		if len(r.Routes) < 4 && tt.paths < 1000 || len(r.Routes) > 15_000 {
			t.Errorf("%d rules with %d paths became %d routes", tt.rules, tt.paths, len(r.Routes))
		}
		if len(r.Events) == 0 {
			t.Errorf("%d rules with %d paths: no Event says that something is left out", tt.rules, tt.paths)
		}
	}
}

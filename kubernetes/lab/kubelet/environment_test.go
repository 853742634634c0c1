//go:build linux

package kubelet

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestExpand(t *testing.T) {
	env := []string{"A=1", "B=$(A)", "A=2"}
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"$", "$"},
		{"a$b", "a$b"},
		{"$(A)", "2"},
		{"x$(A)y$(B)z", "x2y$(A)z"},
		{"$(C)", "$(C)"},
		{"$$(A)", "$(A)"},
		{"$$$(A)", "$2"},
		{"$(A", "$(A"},
		{"$(A)$", "2$"},
	} {
		if got := expand(c.text, env); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.text, got, c.want)
		}
	}
}

func TestLimit(t *testing.T) {
	c := &corev1.Container{Resources: corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("64Mi")},
		Requests: corev1.ResourceList{"cpu": resource.MustParse("1")},
	}}
	for _, x := range []struct{ resource, divisor, want string }{
		{"limits.cpu", "", "2"},
		{"limits.cpu", "1m", "1500"},
		{"requests.cpu", "1", "1"},
		{"limits.memory", "1Mi", "64"},
		{"requests.memory", "", ""},
	} {
		ref := &corev1.ResourceFieldSelector{Resource: x.resource}
		if x.divisor != "" {
			ref.Divisor = resource.MustParse(x.divisor)
		}
		got, err := limit(c, ref)
		if got != x.want || (err != nil) != (x.want == "") {
			t.Errorf("%s in units of %q: %q, %v, want %q", x.resource, x.divisor, got, err, x.want)
		}
	}
}

func TestQuoted(t *testing.T) {
	for path, want := range map[string]string{
		"metadata.labels['app']": "app", "metadata.labels['a/b']": "a/b", "metadata.labels": "", "metadata.annotations['a']": "", "metadata.labels['a'": "",
	} {
		got, ok := quoted(path, "metadata.labels")
		if ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v", path, got, ok)
		}
	}
	if got := lines(map[string]string{"b": "2", "a": `"`}); got != "a=\"\\\"\"\nb=\"2\"" {
		t.Errorf("got %q", got)
	}
}

//go:build linux

// Package install tests that what kubernetes/deploy installs works in a real API server.
package install

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

// TestMain is also the start of the program that the tests run in pods.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "web" {
		web()
		return
	}
	lab.Main(m)
}

const deploy = "../../deploy"

// manifest is the text of one of the installed variants.
func manifest(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, "manifests", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func objects(t *testing.T, text string) (all []*unstructured.Unstructured) {
	t.Helper()
	for d := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := d.Decode(&o.Object); err != nil {
			break
		}
		all = append(all, o)
	}
	if len(all) < 5 {
		t.Fatalf("only %d objects", len(all))
	}
	return all
}

func install(t *testing.T) *lab.Cluster {
	t.Helper()
	c := lab.Start(t)
	c.CRDs(t, lab.GatewayAPI(t, "experimental"), filepath.Join(deploy, "chart/holdfast/crds"))
	return c
}

// The API server accepts each variant, and knows every field.
func TestVariants(t *testing.T) {
	c := install(t)
	found, err := os.ReadDir(filepath.Join(deploy, "manifests"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		namespaces := map[string]string{}
		for _, o := range objects(t, manifest(t, f.Name())) {
			// The objects of a dry run need a namespace that exists.
			if in := o.GetNamespace(); in != "" {
				if namespaces[in] == "" {
					namespaces[in] = c.Namespace(t)
				}
				o.SetNamespace(namespaces[in])
			}
			err := c.Client().Create(t.Context(), o, client.DryRunAll, client.FieldValidation("Strict"))
			if err != nil {
				t.Errorf("%s: %s %s: %v", f.Name(), o.GetKind(), o.GetName(), err)
			}
		}
	}
	if len(found) < 4 {
		t.Errorf("only %d variants", len(found))
	}
}

// rules returns what the roles of a service account allow, as "verb group/resource", or
// "… in NAMESPACE" for those of a Role.
func rules(t *testing.T, c *lab.Cluster, text string) (all []string) {
	t.Helper()
	add := func(rules []rbacv1.PolicyRule, in string) {
		for _, r := range rules {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, verb := range r.Verbs {
						all = append(all, verb+" "+group+"/"+resource+in)
					}
				}
			}
		}
	}
	for _, o := range objects(t, text) {
		switch o.GetKind() {
		case "ClusterRole":
			var r rbacv1.ClusterRole
			if err := c.Client().Get(context.Background(), client.ObjectKeyFromObject(o), &r); err != nil {
				t.Fatal(err)
			}
			add(r.Rules, "")
		case "Role":
			var r rbacv1.Role
			if err := c.Client().Get(context.Background(), client.ObjectKeyFromObject(o), &r); err != nil {
				t.Fatal(err)
			}
			add(r.Rules, " in "+o.GetNamespace())
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

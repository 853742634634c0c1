package policy

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/holdfast-ws/holdfast/kubernetes/api/v1alpha1"
)

const docsFile = "../../../docs/kubernetes-policy.md"

// login is what an example refers to.
const login = `
apiVersion: v1
kind: ConfigMap
metadata: {name: login, namespace: default}
data:
  key.pem: |
    -----BEGIN PUBLIC KEY-----
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
    -----END PUBLIC KEY-----
`

// TestDocs checks that the examples are policies that are accepted, without warnings, and
// that each key has a row in a table.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) < 5 {
		t.Errorf("there are %d examples", len(blocks))
	}
	for i, block := range blocks {
		var p v1alpha1.HoldfastPolicy
		if err := yaml.UnmarshalStrict(block[1], &p); err != nil {
			t.Errorf("example %d: %v", i, err)
			continue
		}
		manifests := []string{string(block[1]), login}
		for _, ref := range p.Spec.TargetRefs {
			if ref.Name == "chat" && ref.Kind != kindIngress {
				continue // which the test has
			}
			version := map[string]string{"Service": "v1", "Ingress": "networking.k8s.io/v1"}[string(ref.Kind)]
			if version == "" {
				version = "gateway.networking.k8s.io/v1"
			}
			manifests = append(manifests, fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: default}", version, ref.Kind, ref.Name))
		}
		s := snapshot(t, manifests...)
		for _, o := range applyTo(t, s, results(s), Options{}).result.Statuses {
			for _, ancestor := range o.(*v1alpha1.HoldfastPolicy).Status.Ancestors {
				if c := ancestor.Conditions[0]; c.Reason != "Accepted" || strings.Contains(c.Message, "Warning") {
					t.Errorf("example %s: %s %s", p.Name, c.Reason, c.Message)
				}
			}
		}
	}
	for _, key := range Keys() {
		if !regexp.MustCompile("(?m)^\\| (`\\w+`, )?`" + key + "`[^|]* \\|").Match(text) {
			t.Errorf("%s has no row for %s", docsFile, key)
		}
	}
	for _, bound := range []any{maxLearned, maxQueue, maxConcurrent, maxHeaderEdits} {
		if !strings.Contains(string(text), fmt.Sprint(bound)) {
			t.Errorf("%s doesn't name the bound %v", docsFile, bound)
		}
	}
}

package crd

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/policy"
)

var update = flag.Bool("update", false, "write the definition anew")

const (
	docsFile = "../../../../docs/config.md"
	crdFile  = "../../../deploy/chart/holdfast/crds/holdfast.dev_holdfastpolicies.yaml"
)

func TestDefinitionIsUpToDate(t *testing.T) {
	docs, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	want, err := YAML(string(docs))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(crdFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(crdFile)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not as the configuration and its documentation are (%v): run go test ./internal/policy/crd -update", crdFile, err)
	}
	if len(got) > 200<<10 {
		t.Errorf("the definition has %d bytes, which annotations of clients may not hold", len(got))
	}
}

// specOf returns the schema of the spec from the file.
func specOf(t *testing.T) (*apiextensionsv1.JSONSchemaProps, validation.SchemaValidator) {
	t.Helper()
	text, err := os.ReadFile(crdFile)
	if err != nil {
		t.Fatal(err)
	}
	var d apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &d); err != nil {
		t.Fatal(err)
	}
	root := d.Spec.Versions[0].Schema.OpenAPIV3Schema
	spec := root.Properties["spec"]
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(root, &internal, nil); err != nil {
		t.Fatal(err)
	}
	s, err := structuralschema.NewStructural(&internal)
	if err != nil {
		t.Fatal(err)
	}
	if errs := structuralschema.ValidateStructural(nil, s); len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	v, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		t.Fatal(err)
	}
	return &spec, v
}

func TestDefinitionHasEveryKey(t *testing.T) {
	spec, _ := specOf(t)
	for _, key := range policy.Keys() {
		p, ok := spec.Properties[key]
		if !ok || p.Description == "" {
			t.Errorf("%s: there is %t, described as %q", key, ok, p.Description)
		}
	}
	for key := range spec.Properties {
		if key != "targetRefs" && !slices.Contains(policy.Keys(), key) {
			t.Errorf("no policy can have %s", key)
		}
	}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{`"jwks_file":`, `"public_key_file":`, `"secret_file":`, `"ca":`} {
		if strings.Contains(string(text), file) {
			t.Errorf("%s is in it, which no policy can have", file)
		}
	}
}

// TestTypes validates as the API server does.
func TestTypes(t *testing.T) {
	_, v := specOf(t)
	for _, c := range []struct{ spec, want string }{
		{`{drain: {timeout: 60s, spread: 30s}, reattach: {"on": [drain, loss]}}`, ""},
		{`{drain: {timeout: 60s}, reattach: {on: [drain, loss]}}`, ""}, // which becomes "true"
		{`{drain: {timeout: 0}, retry_on: [502, 503-504], limits: {max_body: 1MiB, new_sessions_per_address: {rate: 0.5}}}`, ""},
		{`{health: {http: {path: /health, expect: 200}, min_healthy: 50%}, max_sessions: 100}`, ""},
		{`{origins: same_site}`, ""},
		{`{origins: {allow: [any], required: true}}`, ""},
		{`{drian: {}}`, ""}, // kept, and reported in the status
		{`{drain: {timeout: 60}}`, "spec.drain.timeout"},
		{`{drain: {timeout: soon}}`, "spec.drain.timeout"},
		{`{drain: 60s}`, "spec.drain"},
		{`{balance: leastconn}`, `Unsupported value: "leastconn"`},
		{`{max_sessions: -1}`, "spec.max_sessions"},
		{`{allow: 10.0.0.0/8, limits: {max_sessions_per_address: many}}`, "spec.limits.max_sessions_per_address"},
		{`{deny: [1]}`, ""}, // a list or one, so that only the controller checks it
		{`{request_headers: {set: {X-A: 1}}}`, "spec.request_headers.set.X-A"},
		{`{targetRefs: []}`, "spec.targetRefs"},
		{`{targetRefs: [{group: "", kind: Pod, name: a}]}`, "spec.targetRefs[0].kind"},
		{`{targetRefs: [{group: "", kind: Service}]}`, "spec.targetRefs[0].name"},
	} {
		var spec map[string]any
		if err := yaml.Unmarshal([]byte(c.spec), &spec); err != nil {
			t.Fatal(err)
		}
		if spec["targetRefs"] == nil {
			spec["targetRefs"] = []any{map[string]any{"group": "", "kind": "Service", "name": "chat"}}
		}
		errs := validation.ValidateCustomResource(nil, map[string]any{"spec": spec}, v)
		got := ""
		if len(errs) > 0 {
			got = errs.ToAggregate().Error()
		}
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want something with %q", c.spec, got, c.want)
		}
	}
}

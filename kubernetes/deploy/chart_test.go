package deploy

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the manifests")

const chart = "chart/holdfast"

// variants are the values of each file in manifests.
var variants = map[string]string{
	"load-balancer":  "",
	"proxy-protocol": "proxyProtocolFrom: [10.0.0.0/8]\nservice: {externalTrafficPolicy: Cluster}",
	"host-network":   "kind: DaemonSet\nhostNetwork: true\npublishAddress: 192.0.2.1\ngatewayAPI: {enabled: false}",
	"one-namespace":  "watchNamespace: chat\nreplicas: 1\nscaler: {enabled: false}\ndeletionCost: false",
}

func values(t *testing.T, text string) map[string]any {
	t.Helper()
	v := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// render returns the templates' output by file, and what went wrong.
func render(t *testing.T, text string) (map[string]string, error) {
	t.Helper()
	c, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	all, err := util.ToRenderValues(c, values(t, text), common.ReleaseOptions{
		Name: "holdfast", Namespace: "holdfast", IsInstall: true}, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

func TestLint(t *testing.T) {
	for name, text := range variants {
		for _, m := range lint.RunAll(chart, values(t, text), "holdfast").Messages {
			if m.Severity > 1 || !strings.Contains(m.Error(), "icon is recommended") {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// The manifests are what the chart makes, so that they can be used without Helm.
func TestManifests(t *testing.T) {
	var made []string
	for _, name := range slices.Sorted(maps.Keys(variants)) {
		files, err := render(t, variants[name])
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var all bytes.Buffer
		all.WriteString("# Made from the chart by go test ./deploy -update: change the chart, not this file.\n")
		if name == "one-namespace" {
			all.WriteString("# Only the objects of the namespace chat are used.\n")
		}
		all.WriteString("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: holdfast\n  labels:\n")
		level := "restricted"
		if strings.Contains(variants[name], "hostNetwork") {
			level = "privileged"
		}
		all.WriteString("    pod-security.kubernetes.io/enforce: " + level + "\n")
		for _, file := range slices.Sorted(maps.Keys(files)) {
			if text := strings.TrimSpace(files[file]); strings.HasSuffix(file, ".yaml") && text != "" {
				all.WriteString("---\n" + strings.TrimPrefix(text, "---\n") + "\n")
			}
		}
		text := strings.ReplaceAll(all.String(), "app.kubernetes.io/managed-by: Helm\n", "app.kubernetes.io/managed-by: manifests\n")
		path := filepath.Join("manifests", name+".yaml")
		made = append(made, name+".yaml")
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%s is not what the chart makes (%v): go test ./deploy -update", path, err)
		}
	}
	found, err := os.ReadDir("manifests")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if !slices.Contains(made, f.Name()) {
			t.Errorf("manifests/%s is of no variant", f.Name())
		}
	}
}

// Bad values are refused with what is wrong.
func TestBadValues(t *testing.T) {
	for text, want := range map[string]string{
		"replica: 3":                                   "additional properties 'replica' not allowed",
		"kind: StatefulSet":                            "kind",
		"config: {listeners: []}":                      "config.listeners is not for the chart",
		"config: {admin: {address: 0.0.0.0:1}}":        "config.admin is not for the chart",
		"proxyProtocolFrom: [10.0.0.1]":                "proxyProtocolFrom",
		"service: {externalTrafficPolicy: Everywhere}": "externalTrafficPolicy",
		"terminationGracePeriodSeconds: 30":            "terminationGracePeriodSeconds",
	} {
		if _, err := render(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
}

package app

import (
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config/yaml"
)

// TestLabels: routes can be told apart in the log, which has no values of header fields
// and parameters.
func TestLabels(t *testing.T) {
	c, err := yaml.Parse("test.yaml", []byte(`
listeners: [{address: ":8080"}]
routes:
  - match: {host: a.example, path: /x, header: {X-Verify: secret1}, query: {key: secret2}}
    pool: p
  - match: {host: a.example, path: /x, header: {X-Verify: secret3}, query: {key: secret4}}
    pool: p
  - match: {method: POST}
    pool: p
  - pool: p
pools: {p: {backends: [{address: "127.0.0.1:1"}]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	var labels []string
	for _, r := range routeRules(c) {
		labels = append(labels, r.Label)
	}
	want := []string{"a.example/x header:X-Verify query:key", "a.example/x header:X-Verify query:key #2", "method=POST", ""}
	if !slices.Equal(labels, want) || strings.Contains(strings.Join(labels, " "), "secret") {
		t.Errorf("labels %q, want %q", labels, want)
	}
}

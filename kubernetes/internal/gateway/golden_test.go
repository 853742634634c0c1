package gateway

import (
	"encoding/base64"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden: what the manifests in testdata become, once the Services of the Gateways
// have their ports and addresses.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	ca := testca.New(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			objects, err := cluster.ParseYAML(withCertificates(ca, string(text)))
			if err != nil {
				t.Fatal(err)
			}
			result, _ := settle(t, objects)
			got := dump(result)
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs (write it with -update):\n%s", golden, firstDifference(got, string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return "got  " + g[i] + "\nwant " + strings.Join(w[min(i, len(w)):min(i+1, len(w))], "")
		}
	}
	return "the end is missing"
}

var placeholder = regexp.MustCompile(`\{\{(cert|key|ca)( [^ }]+)?\}\}`)

// withCertificates puts certificates into manifests: {{cert NAME}} and {{key NAME}} in
// base64, and {{ca}} as it is in a YAML text in quotes.
func withCertificates(ca *testca.CA, manifest string) string {
	pairs := map[string]*testca.Pair{}
	return placeholder.ReplaceAllStringFunc(manifest, func(s string) string {
		m := placeholder.FindStringSubmatch(s)
		if m[1] == "ca" {
			return `"` + strings.ReplaceAll(string(ca.PEM), "\n", `\n`) + `"`
		}
		name := strings.TrimSpace(m[2])
		if pairs[name] == nil {
			pairs[name] = ca.Issue(name)
		}
		pem := pairs[name].Cert
		if m[1] == "key" {
			pem = pairs[name].Key
		}
		return base64.StdEncoding.EncodeToString(pem)
	})
}

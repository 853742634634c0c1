package haproxy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/formats"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/testkit/golden"
)

func environment(name string) (string, bool) {
	v, ok := map[string]string{"APP": "10.0.0.1:3000", "SECRET": "the-secret-of-the-test"}[name]
	return v, ok
}

// TestGolden compares what becomes of each file with those beside it: the report, and the
// file that holdfast import writes. Of what is refused, the file is without it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.cfg")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	format := formats.Format{Name: "haproxy", What: "HAProxy configuration"}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var report, text strings.Builder
			res, err := haproxy.Import([]string{file}, importer.Options{Env: environment})
			for _, n := range res.Notes {
				fmt.Fprintln(&report, n)
			}
			if err != nil {
				fmt.Fprintf(&report, "\nerrors:\n%v\n", err)
				if res, err = haproxy.Import([]string{file}, importer.Options{Env: environment, AcceptLoss: true}); err != nil {
					t.Fatalf("with the loss accepted: %v", err)
				}
			}
			for i, w := range res.Config.Warnings {
				if i == 0 {
					fmt.Fprintln(&report, "\nwarnings:")
				}
				fmt.Fprintln(&report, w)
			}
			if err := formats.Write(&text, res, format, []string{file}); err != nil {
				t.Fatal(err)
			}
			base := strings.TrimSuffix(file, ".cfg")
			compare(t, base+".report", report.String())
			compare(t, base+".yaml", text.String())
			again, err := yaml.Parse("holdfast.yaml", []byte(text.String()))
			if err != nil {
				t.Fatalf("what was written can't be read: %v", err)
			}
			if a, b := plain(t, res.Config), plain(t, again); a != b {
				t.Errorf("what was written is another configuration:\n%s\ninstead of\n%s", b, a)
			}
		})
	}
}

func plain(t *testing.T, c *config.Config) string {
	var b strings.Builder
	if err := yaml.Write(&b, c, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got = strings.ReplaceAll(got, dir, "/DIR")
	golden.Compare(t, name, got)
}

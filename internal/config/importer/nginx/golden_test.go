package nginx_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/testkit/golden"
)

// TestGolden compares what becomes of the files in testdata with the golden files beside
// them: the configuration, and the report.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(files) < 20 {
		t.Fatalf("files: %d, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var b strings.Builder
			res, err := nginx.Import([]string{file}, importer.Options{})
			if err != nil {
				fmt.Fprintf(&b, "errors:\n%v\n\n", strip(err.Error()))
				if res, err = nginx.Import([]string{file}, importer.Options{AcceptLoss: true}); err != nil {
					fmt.Fprintf(&b, "errors with the loss accepted:\n%v\n\n", strip(err.Error()))
				}
			}
			if res != nil {
				b.WriteString("report:\n")
				for _, n := range res.Notes {
					fmt.Fprintln(&b, strip(n.String()))
				}
				if res.Config != nil {
					for _, w := range res.Config.Warnings {
						fmt.Fprintln(&b, "warning:", strip(w.Error()))
					}
					b.WriteString("\n" + dump(t, res.Config))
				}
			}
			golden.Compare(t, strings.TrimSuffix(file, ".conf")+".golden", b.String())
		})
	}
}

func strip(s string) string {
	dir, _ := os.Getwd()
	return strings.ReplaceAll(strings.ReplaceAll(s, "testdata/", ""), dir, "DIR")
}

func dump(t *testing.T, c *config.Config) string {
	var b strings.Builder
	if err := yaml.Write(&b, c, nil); err != nil {
		t.Fatal(err)
	}
	return strip(b.String())
}

package ingress

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config/importer"
)

func BenchmarkImport(b *testing.B) {
	for b.Loop() {
		if _, err := Import([]string{"testdata/app.yaml"}, importer.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

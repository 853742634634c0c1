// Package golden compares what a test made with a file, which -update writes instead.
package golden

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing")

// Compare fails the test if got isn't the content of the file, or with -update writes it.
func Compare(t testing.TB, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not as in %s (rewrite it with go test -update)\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

package metrics

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// docs/monitoring.md has a row for each metric, and no others.
func TestDocsListEveryMetric(t *testing.T) {
	names := func(file, pattern string) (list []string) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			list = append(list, string(m[1]))
		}
		slices.Sort(list)
		return list
	}
	want := names("testdata/metrics.txt", `(?m)^# HELP (holdfast_\w+) `)
	got := names("../../../docs/monitoring.md", "(?m)^\\| `(holdfast_\\w+)` \\|")
	if len(want) < 20 || !slices.Equal(got, want) {
		t.Errorf("documented:\n%q\nthere are:\n%q", got, want)
	}
}

package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// facts are what a scrape says about a metric.
type facts struct{ kind, labels string }

var (
	typeLine   = regexp.MustCompile(`(?m)^# TYPE (holdfast_\w+) (\w+)$`)
	sampleLine = regexp.MustCompile(`(?m)^(holdfast_\w+)(?:\{(.*)\})? \S+$`)
	labelName  = regexp.MustCompile(`(\w+)="`)
	tableRow   = regexp.MustCompile("(?m)^\\| `(holdfast_\\w+)` \\| (\\w+) \\|(.*?)\\| (.*) \\| `(.*)` \\|$")
	inQuery    = regexp.MustCompile(`holdfast_\w+`)
)

// scraped returns the facts of all metrics that there are.
func scraped(t *testing.T) map[string]facts {
	t.Helper()
	golden, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	build := `# TYPE holdfast_build_info gauge` + "\n" + `holdfast_build_info{version="1",goversion="1"} 1` + "\n" // not in it, since it differs
	text := string(golden) + build
	all := map[string]facts{}
	for _, m := range typeLine.FindAllStringSubmatch(text, -1) {
		all[m[1]] = facts{kind: m[2]}
	}
	for _, m := range sampleLine.FindAllStringSubmatch(text, -1) {
		name := m[1]
		if _, ok := all[name]; !ok {
			name = name[:strings.LastIndexByte(name, '_')] // _bucket, _sum, _count
		}
		var labels []string
		for _, l := range labelName.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		f := all[name]
		f.labels = strings.Join(labels, " ")
		all[name] = f
	}
	return all
}

// docs/metrics.md has a row for each metric, and no others. Each has its type and labels,
// and a query that shows it.
func TestDocsListEveryMetric(t *testing.T) {
	text, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	left := scraped(t)
	if len(left) < 40 {
		t.Fatalf("only %d metrics in the golden file", len(left))
	}
	known := scraped(t)
	for _, row := range tableRow.FindAllStringSubmatch(string(text), -1) {
		name, query := row[1], row[5]
		var labels []string
		for l := range strings.SplitSeq(row[3], ",") {
			if l = strings.Trim(l, " `"); l != "" {
				labels = append(labels, l)
			}
		}
		slices.Sort(labels)
		if got, want := (facts{row[2], strings.Join(labels, " ")}), left[name]; got != want {
			t.Errorf("%s is documented once or more as %+v, it is %+v", name, got, want)
		}
		delete(left, name)
		if !strings.Contains(query, name) {
			t.Errorf("the query of %s doesn't have it: %s", name, query)
		}
		for _, used := range inQuery.FindAllString(query, -1) {
			base := strings.TrimSuffix(used, "_bucket")
			if _, ok := known[base]; !ok {
				t.Errorf("the query of %s has an unknown metric %s", name, used)
			}
		}
	}
	for name := range left {
		t.Errorf("%s isn't documented", name)
	}
}

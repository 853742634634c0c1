package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// used is a query with the labels that are used beside it: in a legend or a text.
type used struct{ where, query, beside string }

// shipped returns the queries of the dashboard, the alerts and the recording rules in
// deploy/, and of docs/metrics.md and docs/disconnects.md.
func shipped(t *testing.T) (all []used) {
	t.Helper()
	read := func(name string) []byte {
		text, err := os.ReadFile("../../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal(read("deploy/grafana/holdfast.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, q := range p.Targets {
			all = append(all, used{"panel " + p.Title, q.Expr, q.LegendFormat})
		}
	}
	for _, v := range dashboard.Templating.List {
		if v.Name == "datasource" {
			continue // Grafana's own
		}
		all = append(all, used{"variable " + v.Name, v.Definition, ""})
	}
	for _, name := range []string{"alerts.yaml", "rules.yaml"} {
		var rules struct {
			Groups []struct {
				Rules []struct {
					Alert, Record, Expr string
					Annotations         map[string]string
				}
			}
		}
		if err := yaml.Unmarshal(read("deploy/prometheus/"+name), &rules); err != nil {
			t.Fatal(err)
		}
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				all = append(all, used{r.Alert + r.Record, r.Expr, r.Annotations["summary"]})
			}
		}
	}
	for _, name := range []string{"docs/metrics.md", "docs/alerts.md", "docs/disconnects.md"} {
		for _, m := range tableRow.FindAllSubmatch(read(name), -1) {
			all = append(all, used{name, string(m[5]), ""})
		}
		for _, m := range regexp.MustCompile("(?ms)^```promql\n(.*?)^```").FindAllSubmatch(read(name), -1) {
			all = append(all, used{name, string(m[1]), ""})
		}
	}
	return all
}

var (
	selector = regexp.MustCompile(`((?:holdfast|process|go)_\w+|\bup\b)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"`)
	grouping = regexp.MustCompile(`\b(?:by|on|ignoring|without|group_left|group_right)\s*\(([^)]*)\)`)
	variable = regexp.MustCompile(`label_values\(.*,\s*(\w+)\)`)
	inLegend = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}`)
	suffix   = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// What is shipped for Prometheus and Grafana uses only metrics and labels that exist.
func TestQueriesUseWhatExists(t *testing.T) {
	known := scraped(t)
	queries := shipped(t)
	if len(queries) < 100 {
		t.Fatalf("only %d queries", len(queries))
	}
	for _, q := range queries {
		for _, problem := range problemsOf(q, known) {
			t.Errorf("%s: %s: %s", q.where, problem, q.query)
		}
	}
}

func problemsOf(q used, known map[string]facts) (problems []string) {
	labels := []string{"instance", "job"} // of each target
	found := false
	for _, m := range selector.FindAllStringSubmatch(q.query, -1) {
		found = true
		name, own := m[1], []string{"instance", "job"}
		if strings.HasPrefix(name, "holdfast_") {
			f, ok := known[name]
			if base := suffix.ReplaceAllString(name, ""); !ok && known[base].kind == "histogram" {
				f, ok = known[base], true
				own = append(own, "le")
			}
			if !ok || f.kind == "histogram" && len(own) == 2 {
				problems = append(problems, "no metric "+name)
			}
			own = append(own, strings.Fields(f.labels)...)
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(own, l[1]) {
				problems = append(problems, name+" has no label "+l[1])
			}
		}
		labels = append(labels, own...)
	}
	if !found {
		problems = append(problems, "no metric")
	}
	var others []string
	for _, m := range grouping.FindAllStringSubmatch(q.query, -1) {
		for l := range strings.SplitSeq(m[1], ",") {
			others = append(others, strings.TrimSpace(l))
		}
	}
	for _, m := range variable.FindAllStringSubmatch(q.query, -1) {
		others = append(others, m[1])
	}
	for _, m := range inLegend.FindAllStringSubmatch(q.beside, -1) {
		others = append(others, m[1])
	}
	for _, l := range others {
		if l != "" && !slices.Contains(labels, l) {
			problems = append(problems, "no label "+l)
		}
	}
	return problems
}

// The test above finds what it looks for.
func TestProblemsOfQueries(t *testing.T) {
	known := scraped(t)
	for query, want := range map[string]string{
		`sum by (pool) (rate(holdfast_messages_total{direction="from_client"}[5m]))`: "",
		`rate(process_cpu_seconds_total{job="holdfast"}[5m])`:                        "",
		`holdfast_message_total`:                                                            "no metric holdfast_message_total",
		`holdfast_sessions_active_bucket`:                                                   "no metric holdfast_sessions_active_bucket",
		`holdfast_handshake_duration_seconds`:                                               "no metric holdfast_handshake_duration_seconds",
		`holdfast_sessions_active{pool="a"}`:                                                "holdfast_sessions_active has no label pool",
		`sum by (cause) (holdfast_backend_sessions)`:                                        "no label cause",
		`label_values(holdfast_sessions_active, pool)`:                                      "no label pool",
		`histogram_quantile(0.9, sum by (le) (holdfast_handshake_duration_seconds_bucket))`: "",
		`1 + 1`: "no metric",
	} {
		if got := strings.Join(problemsOf(used{"", query, ""}, known), "; "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	if got := problemsOf(used{"", "holdfast_sessions_active", "{{ $labels.pool }} {{instance}} {{ $value | humanize }}"}, known); len(got) != 1 {
		t.Errorf("a text with a label that isn't there: %q", got)
	}
}

package scale

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"sigs.k8s.io/yaml"
)

// rule is one of prometheus-adapter's, with the keys that we use.
type rule struct {
	SeriesQuery string `json:"seriesQuery"`
	Resources   struct {
		Overrides map[string]struct {
			Resource string `json:"resource"`
		} `json:"overrides"`
	} `json:"resources"`
	Name struct {
		As string `json:"as"`
	} `json:"name"`
	MetricsQuery string `json:"metricsQuery"`
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/autoscaling/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// metrics lists the metrics that there are, as Prometheus describes them.
func described() (list []string) {
	ch := make(chan *prometheus.Desc)
	go func() {
		NewLocal(LocalOptions{}).Describe(ch)
		close(ch)
	}()
	for d := range ch {
		list = append(list, d.String())
	}
	return list
}

// The rules for prometheus-adapter are about metrics and labels that there are, and give all
// metrics that the HorizontalPodAutoscaler wants.
func TestRecipeForPrometheus(t *testing.T) {
	var values struct {
		Rules struct {
			Default bool   `json:"default"`
			Custom  []rule `json:"custom"`
		} `json:"rules"`
	}
	readYAML(t, "prometheus-adapter.yaml", &values)
	metric := regexp.MustCompile(`^(holdfast_[a-z_]+)\{namespace!="",service!=""\}$`)
	var names []string
	for _, r := range values.Rules.Custom {
		m := metric.FindStringSubmatch(r.SeriesQuery)
		if m == nil {
			t.Errorf("a query with other labels: %s", r.SeriesQuery)
			continue
		}
		if !slices.ContainsFunc(described(), func(d string) bool {
			return strings.Contains(d, `"`+m[1]+`"`) && strings.Contains(d, "variableLabels: {namespace,service}")
		}) {
			t.Errorf("there is no metric %s{namespace,service} in\n%s", m[1], strings.Join(described(), "\n"))
		}
		for label, override := range r.Resources.Overrides {
			if !slices.Contains(serviceLabels, label) || override.Resource != label {
				t.Errorf("%s: label %s is resource %s", m[1], label, override.Resource)
			}
		}
		counts := strings.HasSuffix(m[1], "_total")
		if counts != strings.Contains(r.MetricsQuery, "rate(") || len(r.Resources.Overrides) != 2 || !strings.HasPrefix(r.MetricsQuery, "sum(") {
			t.Errorf("%s: %s", m[1], r.MetricsQuery)
		}
		names = append(names, r.Name.As)
	}
	if len(names) != 4 {
		t.Errorf("%d rules", len(names))
	}
	var hpa autoscalingv2.HorizontalPodAutoscaler
	readYAML(t, "hpa.yaml", &hpa)
	for _, m := range hpa.Spec.Metrics {
		if m.Object == nil || m.Object.DescribedObject.Kind != "Service" || m.Object.Target.AverageValue.IsZero() || !slices.Contains(names, m.Object.Metric.Name) {
			t.Errorf("the HorizontalPodAutoscaler wants %+v, and the rules give %v", m.Object, names)
		}
	}
	if len(hpa.Spec.Metrics) == 0 {
		t.Error("the HorizontalPodAutoscaler has no metrics")
	}
}

// docs/kubernetes-autoscaling.md has a row for each metric, and shows what the recipes say.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/kubernetes-autoscaling.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	name := regexp.MustCompile(`fqName: "([a-z_]+)".*variableLabels: \{([a-z,]+)\}`)
	for _, d := range append(described(), replicasDesc.String()) {
		m := name.FindStringSubmatch(d)
		if m == nil {
			t.Fatal(d)
		}
		if row := "\n| `" + m[1] + "` | `" + strings.ReplaceAll(m[2], ",", "`, `") + "` |"; !strings.Contains(doc, row) {
			t.Errorf("no row %s", row)
		}
	}
	for _, file := range []string{"hpa.yaml", "keda.yaml"} {
		recipe, err := os.ReadFile("../../deploy/autoscaling/" + file)
		if err != nil {
			t.Fatal(err)
		}
		shown := 0
		for _, block := range strings.Split(doc, "```yaml\n")[1:] {
			block, _, _ = strings.Cut(block, "```")
			if strings.Contains(string(recipe), block) {
				shown++
			}
		}
		if shown != 1 {
			t.Errorf("%d blocks of the document are from %s, want 1", shown, file)
		}
	}
}

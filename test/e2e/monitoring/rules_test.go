//go:build unix

package monitoring

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

var rulesFolder = kit.ModulePath("deploy/prometheus")

// promtool runs promtool in deploy/prometheus.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("promtool", args...)
	cmd.Dir = rulesFolder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s(scripts/setup-tests.sh installs it)", strings.Join(args, " "), err, out)
	}
}

func TestRulesAreValid(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", "--lint-fatal", "alerts.yaml", "rules.yaml")
	promtool(t, "check", "config", "--syntax-only", "prometheus.yaml") // a token's file needn't exist
	promtool(t, "test", "rules", "alerts_test.yaml")
}

// alert is one of alerts.yaml.
type alert struct {
	Alert       string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) (all []alert) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	decode(t, "alerts.yaml", &file)
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 15 {
		t.Fatalf("only %d alerts", len(all))
	}
	return all
}

func decode(t *testing.T, name string, to any) {
	t.Helper()
	text, err := os.ReadFile(rulesFolder + "/" + name)
	if err == nil {
		err = yaml.Unmarshal(text, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Each alert has a test in which it fires and one in which it doesn't, and a section in
// docs/alerts.md, which its runbook_url leads to. No section or test is left over.
func TestEachAlertHasATestAndARunbook(t *testing.T) {
	t.Parallel()
	var file struct {
		Tests []struct {
			Tests []struct {
				Alertname string
				Fires     []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	decode(t, "alerts_test.yaml", &file)
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, group := range file.Tests {
		for _, one := range group.Tests {
			fires[one.Alertname] = fires[one.Alertname] || len(one.Fires) > 0
			quiet[one.Alertname] = quiet[one.Alertname] || len(one.Fires) == 0
		}
	}
	text, err := os.ReadFile(kit.ModulePath("docs/alerts.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^## (Holdfast\w+)$`).FindAllStringSubmatch(string(text), -1) {
		sections[m[1]] = true
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] || !quiet[a.Alert] {
			t.Errorf("%s: it fires in a test: %v, and is quiet in one: %v", a.Alert, fires[a.Alert], quiet[a.Alert])
		}
		want := "https://github.com/holdfast-ws/holdfast/blob/main/docs/alerts.md#" + strings.ToLower(a.Alert)
		if got := a.Annotations["runbook_url"]; !sections[a.Alert] || got != want {
			t.Errorf("%s: a section in docs/alerts.md: %v; its runbook_url is %s, want %s", a.Alert, sections[a.Alert], got, want)
		}
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		delete(sections, a.Alert)
		delete(fires, a.Alert)
	}
	for name := range sections {
		t.Errorf("docs/alerts.md has a section %s, and there is no such alert", name)
	}
	for name := range fires {
		t.Errorf("there is a test of %s, and no such alert", name)
	}
}

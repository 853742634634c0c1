//go:build unix

package monitoring

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// server is a running Prometheus.
type server struct{ address string }

// startPrometheus starts one with the rules of deploy/prometheus that scrapes a balancer
// each half second. Alerts fire without waiting for their time to be up.
func startPrometheus(t *testing.T, target string) *server {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("%v: run scripts/setup-tests.sh", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"alerts.yaml", "rules.yaml", "prometheus.yaml"} {
		text, err := os.ReadFile(filepath.Join(rulesFolder, name))
		if err != nil {
			t.Fatal(err)
		}
		changed := string(text)
		for _, c := range [][2]string{{`(?m)^( +for: ).*$`, "${1}0s"}, {`15s`, "500ms"}, {`127\.0\.0\.1:9900`, target}} {
			changed = regexp.MustCompile(c[0]).ReplaceAllString(changed, c[1])
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &server{address: testkit.FreeAddress(t)}
	cmd := exec.Command(program, "--config.file=prometheus.yaml", "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+s.address)
	cmd.Dir = dir
	process.Start(t, "prometheus", cmd)
	testkit.Eventually(t, "Prometheus is ready", func() bool {
		res, err := http.Get("http://" + s.address + "/-/ready")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return s
}

// get asks the API and decodes the data of its answer.
func (s *server) get(t *testing.T, path string, data any) {
	t.Helper()
	res, err := http.Get("http://" + s.address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v %s", path, err, body)
	}
}

// series returns how many series a query has.
func (s *server) series(t *testing.T, query string) int {
	t.Helper()
	var data struct{ Result []any }
	s.get(t, "/api/v1/query?query="+url.QueryEscape(query), &data)
	return len(data.Result)
}

// firing returns the alerts that fire, with a label of them.
func (s *server) firing(t *testing.T, label string) (all []string) {
	t.Helper()
	var data struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	s.get(t, "/api/v1/alerts", &data)
	for _, a := range data.Alerts {
		if a.State == "firing" {
			all = append(all, a.Labels["alertname"]+" "+a.Labels[label])
		}
	}
	return all
}

// panelQuery is a query of the dashboard.
type panelQuery struct {
	title, expr string
	maybeEmpty  bool // as the description of its panel says
}

// dashboardQueries returns the queries of the dashboard, with all its variables at "all".
func dashboardQueries(t *testing.T) (all []panelQuery) {
	t.Helper()
	text, err := os.ReadFile(kit.ModulePath("deploy/grafana/holdfast.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Panels []struct {
			Title, Description string
			Targets            []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "30s", "$instance", ".*", "$pool", ".*", "$backend", ".*")
	for _, p := range file.Panels {
		for _, q := range p.Targets {
			all = append(all, panelQuery{p.Title, variables.Replace(q.Expr), strings.HasPrefix(p.Description, "Empty ")})
		}
	}
	if len(all) < 40 {
		t.Fatalf("only %d queries", len(all))
	}
	return all
}

// A real Prometheus scrapes a balancer with sessions: the dashboard shows data, all queries
// of docs/metrics.md can be asked, and an alert fires for a backend that is killed.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	backends := kit.StartAllNamed(t, "a", "b")
	file := kit.Settings{Engine: "epoll", Backends: []string{backends[0].Address, backends[1].Address}}.YAML()
	file = strings.Replace(file, "    backends:", "    max_sessions: 100\n    health: {http: {path: /}, interval: 1s, timeout: 900ms}\n    backends:", 1)
	b := kit.StartBalancer(t, file)
	p := startPrometheus(t, b.Admin)

	sessions := kit.OpenMany(t, b.Address, "/", 20)
	stop := time.After(testkit.Patience)
	answered := 0
	traffic := func() { // what happens between two looks
		for _, w := range sessions {
			if err := w.RoundTrip("hello"); err != nil {
				t.Fatal(err)
			}
		}
		w, _, err := wspeer.Dial(b.Address, "/")
		if err != nil {
			t.Fatal(err)
		}
		w.SendClose(1000, "")
		w.ReadEnd()
		w.Close()
		if name, _ := kit.AnsweredByHTTP(t, b.Address, "/"); name != "" {
			answered++
		}
	}
	queries := dashboardQueries(t)
	for {
		traffic()
		left := slices.DeleteFunc(slices.Clone(queries), func(q panelQuery) bool { return q.maybeEmpty || p.series(t, q.expr) > 0 })
		if len(left) == 0 {
			break
		}
		select {
		case <-stop:
			t.Fatalf("panels without data, which don't say that they may be empty: %+v", left)
		case <-time.After(250 * time.Millisecond):
		}
	}
	if answered == 0 {
		t.Error("no plain HTTP request was answered")
	}
	for _, q := range queries {
		p.series(t, q.expr) // those that may be empty are valid, too
	}
	text, err := os.ReadFile(kit.ModulePath("docs/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `holdfast_.*\\| `(.*)` \\|$").FindAllStringSubmatch(string(text), -1)
	if len(rows) < 40 {
		t.Fatalf("only %d queries in docs/metrics.md", len(rows))
	}
	for _, row := range rows {
		p.series(t, row[1])
	}
	if firing := p.firing(t, "backend"); len(firing) > 0 {
		t.Errorf("alerts of a healthy balancer: %v", firing)
	}
	testkit.Eventually(t, "recorded series", func() bool { return p.series(t, `pool:holdfast_sessions:sum{pool="main"} == 20`) == 1 })

	backends[1].Down()
	testkit.Eventually(t, "an alert for backend b", func() bool {
		return slices.Contains(p.firing(t, "backend"), "HoldfastBackendDown b")
	})
	backends[0].Down()
	testkit.Eventually(t, "an alert for the pool", func() bool { return slices.Contains(p.firing(t, "pool"), "HoldfastNoBackend main") })
	b.WriteConfig(t, strings.Replace(file, "max_sessions: 100", "max_sessions: many", 1))
	b.Reload(t, kit.ReloadRefused)
	testkit.Eventually(t, "an alert for the reload", func() bool {
		return slices.Contains(p.firing(t, "job"), "HoldfastReloadFailed holdfast")
	})
}

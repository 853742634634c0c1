package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestScenarios compares what each scenario of testdata gives with the golden
// file beside it: what is in it and its warnings, or the errors.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenario/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if s, err := ParseScenario(filepath.Base(file), data); err != nil {
				got = err.Error() + "\n"
			} else {
				got = dumpScenario(s)
			}
			compareGolden(t, strings.TrimSuffix(file, ".yaml")+".golden", got)
		})
	}
}

func dumpScenario(s *Scenario) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%q seed %d for %v, %d sessions in %v, round trip %v", s.Name, s.Seed, s.Duration, s.Sessions, s.Arrive, s.RoundTrip)
	backends := s.Backends
	backends.Hang = nil
	line("backends %+v", backends)
	if h := s.Backends.Hang; h != nil {
		line("  hang %+v", *h)
	}
	for _, p := range s.Pools {
		line("pool %s by %s of %d", p.Name, p.Balance, len(p.Backends))
		p.Backends = nil
		dumpPool(line, p)
	}
	for _, c := range s.Clients {
		line("clients %+v", c)
	}
	for _, e := range s.Events {
		line("at %v", e.At)
		switch {
		case e.Restart != nil:
			line("  restart %+v", *e.Restart)
		case e.Kill != nil && e.Kill.Back != nil:
			line("  kill %d, back after %v", e.Kill.Backends, *e.Kill.Back)
		case e.Kill != nil:
			line("  kill %d", e.Kill.Backends)
		default:
			line("  add %d", e.Add)
		}
	}
	for _, w := range s.Warnings {
		line("warning %v", w)
	}
	return b.String()
}

// The scenarios that are shipped are good, and have nothing to be warned of.
func TestShippedScenarios(t *testing.T) {
	files, _ := filepath.Glob("../../docs/storms/*.yaml")
	if len(files) == 0 {
		t.Fatal("there are none")
	}
	for _, file := range files {
		if s, err := LoadScenario(file); err != nil {
			t.Error(err)
		} else if len(s.Warnings) > 0 {
			t.Errorf("%v", s.Warnings)
		}
	}
}

func TestLoadScenarioTellsWhatCannotBeRead(t *testing.T) {
	if _, err := LoadScenario("testdata/nowhere.yaml"); err == nil || err.Error() != "testdata/nowhere.yaml: no such file" {
		t.Errorf("got %v", err)
	}
}

// docs/simulate.md has a row for each key of a scenario.
func TestDocsHaveEveryKeyOfScenarios(t *testing.T) {
	data, err := os.ReadFile("../../docs/simulate.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|").FindAllStringSubmatch(string(data), -1) {
		documented = append(documented, m[1])
	}
	var want []string
	add := func(prefix string, names []string) {
		for _, name := range names {
			want = append(want, prefix+name)
		}
	}
	add("", names(scenarioKeys))
	add("backends.", names(simBackendKeys))
	add("hang.", names(simHangKeys))
	add("clients.", names(simClientKeys))
	add("events.", names(simEventKeys))
	add("restart.", names(simRestartKeys))
	add("kill.", names(simKillKeys))
	for _, key := range want {
		if !slices.Contains(documented, key) {
			t.Errorf("docs/simulate.md has no row for %s", key)
		}
	}
	for _, key := range documented {
		if strings.Contains(key, ".") && !slices.Contains(want, key) {
			t.Errorf("docs/simulate.md has a row for %s, which there isn't", key)
		}
	}
}

func FuzzParseScenario(f *testing.F) {
	files, _ := filepath.Glob("testdata/scenario/*.yaml")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseScenario("fuzz.yaml", data)
		if (s == nil) == (err == nil) {
			t.Fatalf("scenario %v and error %v", s, err)
		}
		if s == nil {
			return
		}
		if s.Sessions < 1 || s.Backends.Count < 1 || !(s.Backends.Capacity > 0) || len(s.Pools) == 0 || len(s.Clients) == 0 || s.Arrive >= s.Duration {
			t.Fatalf("can't be simulated: %+v", s)
		}
		for _, e := range s.Events {
			if k := e.Kill; k != nil && (k.Backends < 0 || k.Backends > s.Backends.Count) {
				t.Fatalf("%+v of %d backends", *k, s.Backends.Count)
			}
		}
	})
}

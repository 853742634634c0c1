package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/testkit/golden"
)

// TestScenarios compares what each scenario of testdata gives with the golden
// file beside it: what is in it and its warnings, or the errors.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
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
			if s, err := Parse(filepath.Base(file), data); err != nil {
				got = err.Error() + "\n"
			} else {
				got = dumpScenario(s)
			}
			golden.Compare(t, strings.TrimSuffix(file, ".yaml")+".golden", got)
		})
	}
}

func dumpScenario(s *Scenario) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%q seed %d for %v, %d sessions in %v, round trip %v", s.Name, s.Seed, s.Duration, s.Sessions, s.Arrive, s.RoundTrip)
	backends := s.Backends
	backends.Hang, backends.Cold = nil, nil
	line("backends %+v", backends)
	if h := s.Backends.Hang; h != nil {
		line("  hang %+v", *h)
	}
	if c := s.Backends.Cold; c != nil {
		line("  cold %+v", *c)
	}
	for _, p := range s.Pools {
		line("pool %s by %s of %d", p.Name, p.Balance, s.Backends.Count)
		dumpPool(line, p)
	}
	for _, c := range s.Clients {
		line("clients {Name:%s Delay:%v Max:%v Factor:%v Jitter:%d Timeout:%v}", c.Name, c.Delay, c.Max, c.Factor, c.Jitter.Percent, c.Timeout)
	}
	for _, e := range s.Events {
		line("at %v", e.At)
		switch {
		case e.Restart != nil:
			line("  restart {Backends:%d Parallel:%d Pause:%v}", s.Count(e.Restart.Backends), e.Restart.Parallel, e.Restart.Pause)
		case e.Kill != nil && e.Kill.Back != nil:
			line("  kill %d, back after %v", s.Count(e.Kill.Backends), *e.Kill.Back)
		case e.Kill != nil:
			line("  kill %d", s.Count(e.Kill.Backends))
		case e.Scale != nil:
			line("  scale %+v", *e.Scale)
		default:
			line("  add %d", e.Add)
		}
	}
	for _, w := range s.Warnings {
		line("warning %v", w)
	}
	return b.String()
}

func dumpPool(line func(string, ...any), p Pool) {
	h := p.Health
	if h.TCP {
		line("  tcp")
	}
	line("  health every %v in %v fall %d rise %d, max_fails %d in %v, min_healthy %d %d%%, slow_start %v",
		h.Interval, h.Timeout, h.Fall, h.Rise, h.MaxFails, h.FailTimeout, h.MinHealthy.Count, h.MinHealthy.Percent, h.SlowStart)
	if d := p.Drain; d != config.DefaultDrain() {
		line("  drain in %v, over %v, with %d %q, keep %v", d.Timeout, d.Spread, d.Code, d.Reason, d.Sticky == "keep")
	}
	if p.ScaleIn != "emptiest" {
		line("  scale_in %s", p.ScaleIn)
	}
	if p.Admit != nil {
		line("  admit %+v", *p.Admit)
	}
	if p.Reattach != nil {
		line("  reattach %+v", *p.Reattach)
	}
	if p.Rebalance != nil {
		r := p.Rebalance
		line("  rebalance {Above:%d Rate:%v MinAge:%v StickyMove:%v}", r.Above, r.Rate, r.MinAge, r.Sticky == "move")
	}
}

// names lists the keys of a section.
func names[T any]() []string { return config.Names(config.KeysOf(reflect.TypeFor[T]())) }

// The scenarios that are shipped are good, and have nothing to be warned of.
func TestShippedScenarios(t *testing.T) {
	files, _ := filepath.Glob("../../../docs/storms/*.yaml")
	if len(files) == 0 {
		t.Fatal("there are none")
	}
	for _, file := range files {
		if s, err := Load(file); err != nil {
			t.Error(err)
		} else if len(s.Warnings) > 0 {
			t.Errorf("%v", s.Warnings)
		}
	}
}

func TestLoadTellsWhatCannotBeRead(t *testing.T) {
	if _, err := Load("testdata/nowhere.yaml"); err == nil || err.Error() != "testdata/nowhere.yaml: no such file" {
		t.Errorf("got %v", err)
	}
}

// docs/simulate.md has a row for each key of a scenario.
func TestDocsHaveEveryKeyOfScenarios(t *testing.T) {
	data, err := os.ReadFile("../../../docs/simulate.md")
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
	add("", names[Scenario]())
	add("backends.", names[Backends]())
	add("hang.", names[Hang]())
	add("cold.", names[Cold]())
	add("clients.", names[Clients]())
	add("events.", names[Event]())
	add("restart.", names[Restart]())
	add("kill.", names[Kill]())
	add("scale.", names[Scale]())
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

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("fuzz.yaml", data)
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
			if k := e.Kill; k != nil && (s.Count(k.Backends) < 0 || s.Count(k.Backends) > s.Backends.Count) {
				t.Fatalf("%+v of %d backends", *k, s.Backends.Count)
			}
		}
	})
}

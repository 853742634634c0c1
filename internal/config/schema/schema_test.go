package schema

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/config"
	configyaml "github.com/holdfast-ws/holdfast/internal/config/yaml"
)

func docs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestEveryKeyIsDescribed walks the schema of the file: a key without a description is one
// that docs/config.md describes in other words, and there are few.
func TestEveryKeyIsDescribed(t *testing.T) {
	described := Described(docs(t))
	for p, want := range map[config.Path]string{
		"pools.x.drain.timeout":          "Default: 300s, 0 for at once.",
		"pools.x.health.http.path":       "Required.",
		"routes[0].timeouts.connect":     "Default: timeouts.connect",
		"timeouts.connect":               "Default: 5s, not 0.",
		"pools.x.tls.ca":                 "the backends' certificates",
		"listeners[0].tls.client_ca":     "Clients are asked for a certificate",
		"routes[0].limits.max_message":   "Default: 0, no limit.",
		"routes[0].auth.jwt.jwks_url":    "JWK Set",
		"engine":                         "epoll",
		"pools.x.affinity.cookie.secret": "Key that signs the cookie",
	} {
		if got := described(p); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want something with %q", p, got, want)
		}
	}
	if a, b := described("timeouts.connect"), described("routes[0].timeouts.connect"); a == b {
		t.Errorf("the timeouts of routes are described as those of all: %s", a)
	}
	var without []string
	var walk func(p string, s *Schema)
	walk = func(p string, s *Schema) {
		if s == nil {
			return
		}
		for name, key := range s.Properties {
			if key.Description == "" && key.Ref == "" {
				without = append(without, p+"."+name)
			}
			walk(p+"."+name, key)
		}
		for _, in := range s.AnyOf {
			walk(p, in)
		}
		walk(p, s.Items)
		if in, ok := s.Additional.(*Schema); ok {
			walk(p, in)
		}
	}
	walk("", File(described))
	for _, p := range without {
		_, last, _ := cutLast(p)
		switch last {
		case "rate", "burst", "claim", "max", "listeners", "routes", "pools", "timeouts", "shutdown", "keepalive", "forwarded", "request_headers", "response_headers", "http", "limits", "admin", "log", "tracing":
			continue // described where they are, or the sections of the file
		}
		t.Errorf("%s has no description", p)
	}
}

func cutLast(p string) (before, last string, ok bool) {
	i := strings.LastIndexByte(p, '.')
	return p[:i], p[i+1:], true
}

// TestFilesComply validates all files of config/yaml's tests that are right, with a validator
// for what the schemas use.
func TestFilesComply(t *testing.T) {
	files, err := filepath.Glob("../yaml/testdata/good/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	s := read(t, File(nil))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := yaml.Unmarshal(text, &v); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if err := s.check("", v, s); err != "" {
			t.Errorf("%s:%s", file, err)
		}
	}
}

func TestFilesDontComply(t *testing.T) {
	s := read(t, File(nil))
	for _, c := range []struct{ text, want string }{
		{`lisstener: []`, "lisstener"},
		{`listeners: {}`, ".listeners"},
		{`pools: {a: {drain: {timeout: 5}}}`, ".pools.a.drain.timeout"},
		{`pools: {a: {drain: {timeout: 5x}}}`, ".pools.a.drain.timeout"},
		{`pools: {a: {balance: leastconn}}`, ".pools.a.balance"},
		{`pools: {a: {reattach: {on: [drian]}}}`, ".pools.a.reattach.on"},
		{`pools: {a: {max_sessions: -1}}`, ".pools.a.max_sessions"},
		{`routes: [{match: {not: [{pth: /x}]}}]`, ".routes.0.match.not.0"},
		{`limits: {send_buffer: 1GB}`, ".limits.send_buffer"},
		{`keepalive: {interval: soon}`, ".keepalive.interval"},
		{`http: {via: yes please}`, ".http.via"},
	} {
		var v any
		if err := yaml.Unmarshal([]byte(c.text), &v); err != nil {
			t.Fatal(err)
		}
		if got := s.check("", v, s); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want something with %q", c.text, got, c.want)
		}
	}
}

// TestSchemaAcceptsWhatTheConfigurationDoes: the patterns aren't narrower than the code.
func TestSchemaAcceptsWhatTheConfigurationDoes(t *testing.T) {
	s := read(t, File(nil))
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(
			rapid.StringMatching(`[+]?[0-9]{0,3}\.?[0-9]{0,2}(ns|us|µs|ms|s|m|h|/s|/m|/h|%|KiB|MiB| KiB|)`),
			rapid.StringMatching(`[0-9]{1,2}(h[0-9]{1,2}m)?[0-9.]{1,3}s`), rapid.Just("${HOME}"), rapid.Just("0"),
			rapid.StringMatching(`[2-5][0-9]{2}-[2-5][0-9]{2}`)).Draw(t, "word")
		key := rapid.SampledFrom([]string{
			"pools: {a: {backends: [{address: 'h:1'}], drain: {timeout: %}}}", "pools: {a: {backends: [{address: 'h:1'}], admit: {rate: %}}}",
			"pools: {a: {backends: [{address: 'h:1'}], rebalance: {above: %}}}", "pools: {a: {backends: [{address: 'h:1'}], health: {min_healthy: %}}}",
			"pools: {a: {backends: [{address: 'h:1'}], retry_on: [%]}}", "pools: {a: {backends: [{address: 'h:1'}]}}\nlimits: {new_sessions_per_address: {rate: %}}",
			"pools: {a: {backends: [{address: 'h:1'}]}}\nlimits: {max_body: %}", "pools: {a: {backends: [{address: 'h:1', weight: %}]}}",
			"pools: {a: {backends: [{address: 'h:1'}]}}\ntimeouts: {idle: %}",
		}).Draw(t, "key")
		quote := rapid.SampledFrom([]string{"", "'"}).Draw(t, "quote")
		text := "listeners: [{address: ':80'}]\n" + strings.Replace(key, "%", quote+word+quote, 1)
		if _, err := configyaml.Parse("holdfast.yaml", []byte(text)); err != nil {
			return
		}
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if err := s.check("", v, s); err != "" {
			t.Fatalf("the configuration accepts\n%s\nand the schema doesn't:%s", text, err)
		}
	})
}

// TestStructural checks the rules of structural schemas: each has one type or any value, and
// nothing but what Kubernetes knows.
func TestStructural(t *testing.T) {
	var walk func(p string, s *Schema)
	n := 0
	walk = func(p string, s *Schema) {
		n++
		word, one := s.Type.(string)
		anything := s.Type == nil && (s.IntOrString || s.PreserveUnknown)
		if !one && !anything || s.AnyOf != nil || s.Ref != "" || s.Dialect != "" || s.Defs != nil || s.Additional == false {
			t.Errorf("%s isn't structural: %+v", p, s)
		}
		if word == "object" && s.Properties != nil && !s.PreserveUnknown {
			t.Errorf("%s drops unknown keys", p)
		}
		for name, key := range s.Properties {
			walk(p+"."+name, key)
		}
		if s.Items != nil {
			walk(p+"[]", s.Items)
		}
		if in, ok := s.Additional.(*Schema); ok {
			walk(p+"{}", in)
		}
	}
	o := Options{Structural: true, Skip: func(_ config.Path, k *config.Key) bool { return k.Name == "match" || k.Name == "file" }}
	walk("pool", Of(reflect.TypeFor[config.Pool](), "pools.x", o))
	route := Of(reflect.TypeFor[config.Route](), "routes[0]", o)
	walk("route", route)
	if n < 100 || route.Properties["match"] != nil {
		t.Errorf("%d schemas, match %+v", n, route.Properties["match"])
	}
}

// read makes a schema of its own JSON, as others see it.
func read(t testing.TB, s *Schema) *validator {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var v validator
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return &v
}

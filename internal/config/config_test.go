package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const minimal = "listeners: [{address: ':80'}]\npools: {a: {backends: [{address: 'a:1'}]}}\n"
	comment := "#" + strings.Repeat("x", maxSize-1-len("\n"+minimal)) + "\n"

	tests := []struct {
		name, path, want string // the error, without the path before it
	}{
		{"good", write("good.yaml", minimal), ""},
		{"missing", filepath.Join(dir, "missing.yaml"), ": no such file"},
		{"directory", dir, ": cannot read it: is a directory"},
		{"largest", write("largest.yaml", comment+minimal), ""},
		{"too large", write("large.yaml", "#"+comment+minimal), ": larger than 1 MiB, this cannot be a configuration"},
		{"bad", write("bad.yaml", minimal+"engine: x\n"), `:3:9: expected auto, epoll or portable, got "x"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(tt.path)
			if tt.want == "" {
				if err != nil || len(c.Pools) != 1 {
					t.Fatalf("got %+v and the error %v", c, err)
				}
				return
			}
			if c != nil || err == nil || err.Error() != tt.path+tt.want {
				t.Fatalf("got the error %v, want %s%s", err, tt.path, tt.want)
			}
			if _, ok := errors.AsType[Errors](err); !ok {
				t.Errorf("the error is a %T, want Errors", err)
			}
		})
	}
}

func TestManyErrorsAreCutOff(t *testing.T) {
	_, err := Parse("f", []byte("routes:\n"+strings.Repeat("- a\n", maxErrors+1)))
	errs := err.(Errors)
	if n := len(errs); n != maxErrors+1 {
		t.Fatalf("%d errors, want %d", n, maxErrors+1)
	}
	if last := errs[maxErrors].Msg; !strings.Contains(last, "there may be others") {
		t.Errorf("the last error doesn't say that there may be more: %s", last)
	}
}

// TestMistakeBelowManyAliases: a mistake that is read often leaves room for
// others.
func TestMistakeBelowManyAliases(t *testing.T) {
	_, err := Parse("f", []byte("pools: {a: &a {blance: x}}\nroutes: [&r {pol: a}"+strings.Repeat(", *r", 2*maxErrors)+"]\nengine: x\n"))
	want := `f: no listeners: give at least one address to listen on
f:1:9: the pool has no backends: list them under backends, or find them by dns or file
f:1:16: unknown key "blance" (did you mean "balance"?)
f:2:14: unknown key "pol" (did you mean "pool"?)
f:3:9: expected auto, epoll or portable, got "x"`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestQuick(t *testing.T) {
	tests := []struct {
		name             string
		listen, backends []string
		want             string
	}{
		{"good", []string{":8080", "[::1]:8081"}, []string{"127.0.0.1:3001", "ws.internal:3002"}, `listener :8080 at :8080 (0:0)
listener [::1]:8081 at [::1]:8081 (0:0)
pool default by least_conn (0:0)
  health every 10s in 2s fall 3 rise 2, max_fails 3 in 30s, min_healthy 0 0%, slow_start 0s
  backend 127.0.0.1:3001 at 127.0.0.1:3001 weight 1
  backend ws.internal:3002 at ws.internal:3002 weight 1
`},
		{"nothing", nil, nil, `--listen: give at least one address to listen on, such as --listen :8080
--backend: give at least one address, such as --backend 127.0.0.1:3000`},
		{"bad", []string{"8080"}, []string{":1", "a:1"}, `--listen 8080: bad address "8080": want host:port, such as :8080 or 127.0.0.1:8080
--backend :1: bad address ":1": the host is missing, write for example 127.0.0.1:1`},
		{"twice", []string{":80", ":80", "127.0.0.1:80"}, []string{"a:1", "A:1"}, `--listen :80: duplicate listener address ":80" (first given before)
--listen 127.0.0.1:80: listener address "127.0.0.1:80" overlaps with the one given before: both take port 80
--backend A:1: duplicate backend address "a:1" (first given before)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Quick(tt.listen, tt.backends)
			if err != nil {
				if c != nil || err.Error() != tt.want {
					t.Errorf("got the error\n%v\nwant\n%s", err, tt.want)
				}
				return
			}
			d := Defaults()
			if got, want := dump(c), tt.want+dump(&d); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{":80", ":80", true},
		{":80", ":81", false},
		{":0", "127.0.0.1:0", false},
		{":80", "[::]:80", true},
		{":80", "0.0.0.0:80", true},
		{":80", "10.0.0.1:80", true},
		{":80", "localhost:80", true},
		{"[::]:80", "10.0.0.1:80", true},
		{"[::]:80", "[::1]:80", true},
		{"0.0.0.0:80", "10.0.0.1:80", true},
		{"0.0.0.0:80", "[::1]:80", false},
		{"10.0.0.1:80", "10.0.0.2:80", false},
		{"10.0.0.1:80", "[::ffff:10.0.0.1]:80", true},
		{"[::1]:80", "[0:0::1]:80", true},
		{"localhost:80", "LOCALHOST:080", true},
	}
	for _, tt := range tests {
		for _, pair := range [][]string{{tt.a, tt.b}, {tt.b, tt.a}} {
			_, err := Quick(pair, []string{"a:1"})
			if (err != nil) != tt.want {
				t.Errorf("%v: got the error %v, want one: %v", pair, err, tt.want)
			}
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"name", "address", "weight", "max_lifetime", "warn", "websocket"}
	for word, want := range map[string]string{
		"nmae":                      "name",
		"adress":                    "address",
		"addr":                      "address",
		"ADDRESS":                   "address",
		"wieght":                    "weight",
		"maxLifetime":               "max_lifetime",
		"lifetime":                  "",
		"warning":                   "warn",
		"web_socket":                "websocket",
		"websockets":                "websocket",
		"colour":                    "",
		"n":                         "",
		"":                          "",
		strings.Repeat("name", 100): "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

// TestEditDistanceIsAMetric checks what any distance of edits has, and that
// one edit is a distance of one.
func TestEditDistanceIsAMetric(t *testing.T) {
	const far = 100
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ab_]{0,8}`)
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := editDistance(a, b, far)
		if d != editDistance(b, a, far) {
			t.Fatalf("not symmetric")
		}
		if (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Fatalf("distance %d", d)
		}
		if a == "" {
			return
		}
		i := rapid.IntRange(0, len(a)-1).Draw(t, "i")
		edited := []string{a[:i] + "x" + a[i:], a[:i] + a[i+1:], a[:i] + "x" + a[i+1:]}
		if i > 0 && a[i-1] != a[i] {
			edited = append(edited, a[:i-1]+a[i:i+1]+a[i-1:i]+a[i+1:])
		}
		for _, e := range edited {
			if got := editDistance(a, e, far); got != 1 {
				t.Fatalf("from %q to %q: %d, want 1", a, e, got)
			}
		}
	})
}

// TestCoverage compares which routes are said never to match with trying all
// kinds of request there are for these hosts and paths.
func TestCoverage(t *testing.T) {
	yes, no := true, false
	requestHosts := []string{"other", "x", "a.x", "b.x", "a.b.x", "c.b.x", "10.0.0.1"}
	requestPaths := []string{"/", "/p", "/px", "/p/q", "/p/r", "/r"}
	matches := func(m Match, host, path string, websocket bool) bool {
		hostOK := m.Host == "" || m.Host == host
		if suffix, ok := strings.CutPrefix(m.Host, "*"); ok {
			hostOK = strings.HasSuffix(host, suffix)
		}
		pathOK := path == m.Path || strings.HasPrefix(path, m.Path+"/")
		return hostOK && pathOK && (m.WebSocket == nil || *m.WebSocket == websocket)
	}
	route := rapid.Custom(func(t *rapid.T) Match {
		return Match{
			Host:      rapid.SampledFrom([]string{"", "x", "*.x", "a.x", "*.b.x", "a.b.x", "10.0.0.1"}).Draw(t, "host"),
			Path:      rapid.SampledFrom([]string{"", "/p", "/px", "/p/q"}).Draw(t, "path"),
			WebSocket: rapid.SampledFrom([]*bool{nil, &yes, &no}).Draw(t, "websocket"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		routes := rapid.SliceOfN(route, 1, 8).Draw(t, "routes")
		reached := make([]bool, len(routes))
		for _, host := range requestHosts {
			for _, path := range requestPaths {
				for _, websocket := range []bool{yes, no} {
					for i, m := range routes {
						if matches(m, host, path, websocket) {
							reached[i] = true
							break
						}
					}
				}
			}
		}
		seen := make(coverage)
		for i, m := range routes {
			at := place{Pos: Pos{Line: i + 1}}
			earlier, covered := seen.add(m, at)
			if covered == reached[i] {
				t.Fatalf("route %d: covered %v, reached %v", i, covered, reached[i])
			}
			if covered && earlier.Line > i {
				t.Fatalf("route %d is said to be covered by %d", i, earlier.Line-1)
			}
		}
	})
}

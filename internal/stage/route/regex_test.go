package route

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

func mustRegex(t interface{ Fatal(...any) }, s string) pattern.Regex {
	r, err := pattern.ParseRegex(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustBegin(t interface{ Fatal(...any) }, s string) pattern.BeginPath {
	p, err := pattern.ParseBeginPath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustExact(t interface{ Fatal(...any) }, s string) pattern.ExactPath {
	p, err := pattern.ParseExactPath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// judgedConditions is a table with every condition for paths, and beside it what each rule
// means for a path that a server has read.
func judgedConditions(t testing.TB) (*Table, []func(seen string) bool) {
	x, err := pattern.ParsePath("/x")
	if err != nil {
		t.Fatal(err)
	}
	rules := []Rule{
		{When: &Conditions{PathExact: mustExact(t, "/ws/")}},
		{When: &Conditions{PathRegex: mustRegex(t, "^/api/v[0-9]+/[^/]*$")}},
		{When: &Conditions{PathBegins: mustBegin(t, "/ws")}},
		{When: &Conditions{PathRegex: mustRegex(t, "(?i)y.*deep"), Not: []Exception{{Path: x}, {When: &Conditions{PathRegex: mustRegex(t, "er$")}}}}},
		{Path: x, When: &Conditions{PathBegins: mustBegin(t, "/x/y"), PathRegex: mustRegex(t, "/$")}},
		{When: &Conditions{Not: []Exception{{When: &Conditions{Not: []Exception{{Path: x}}}}}}},
		{},
	}
	version, deep := regexp.MustCompile("^/api/v[0-9]+/[^/]*$"), regexp.MustCompile("(?i)y.*deep")
	isX := func(s string) bool { return s == "/x" || strings.HasPrefix(s, "/x/") }
	return New(rules), []func(string) bool{
		func(s string) bool { return s == "/ws/" },
		version.MatchString,
		func(s string) bool { return strings.HasPrefix(s, "/ws") },
		func(s string) bool { return deep.MatchString(s) && !isX(s) && !strings.HasSuffix(s, "er") },
		func(s string) bool { return strings.HasPrefix(s, "/x/y") && strings.HasSuffix(s, "/") },
		isX,
		func(string) bool { return true },
	}
}

// judgeConditions is judge for such a table.
func judgeConditions(t interface{ Fatalf(string, ...any) }, tab *Table, meaning []func(string) bool, path string) {
	r, err := tab.Match("h", path, true, nil)
	if other, otherErr := tab.MatchBytes([]byte("h"), []byte(path), true, nil); other != r || otherErr != err {
		t.Fatalf("%q: Match %v, %v; MatchBytes %v, %v", path, r, err, other, otherErr)
	}
	if errors.Is(err, ErrBadPath) {
		return
	}
	if err != nil {
		t.Fatalf("%q: %v in a table that has a rule for all", path, err)
	}
	for i, server := range servers {
		seen := server(path)
		if want := slices.IndexFunc(meaning, func(means func(string) bool) bool { return means(seen) }); r.Index != want {
			t.Fatalf("%q: rule %d, but server %d sees %q, which is for %d", path, r.Index, i, seen, want)
		}
	}
}

func FuzzMatchConditions(f *testing.F) {
	for _, p := range []string{"/ws/", "/ws", "/wsx", "/ws//", "/api/v1/x", "/api/v1/x%2fy", "/Y/deep", "/y;deep", "/y/deeper", "/x/y/", "/x/y;/", "/x//y", "*", "", "/%ff/y\xff/deep"} {
		f.Add(p)
	}
	tab, meaning := judgedConditions(f)
	f.Fuzz(func(t *testing.T, path string) {
		if strings.Contains(path, "\n") || strings.Contains(strings.ToLower(path), "%0a") {
			return // "." doesn't match it, and the judges' "\x01" differs from ours
		}
		if path == "" || path == "*" {
			if got, err := tab.Match("h", path, true, nil); err != nil || got.Index != 6 {
				t.Errorf("%q: %v, %v", path, got, err)
			}
			return
		}
		judgeConditions(t, tab, meaning, path)
	})
}

func TestTrickyConditions(t *testing.T) {
	tab, meaning := judgedConditions(t)
	piece := rapid.SampledFrom([]string{"/", "/", "/", "%2f", "%5c", ";", "%3B", ".", "%2e", "//", "ws", "%77s", "deep", "er", "x", "api/v1", "Y", "y"})
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			judgeConditions(t, tab, meaning, "/"+strings.Join(rapid.SliceOfN(piece, 0, 10).Draw(t, "pieces"), ""))
		}
	})
}

// TestTrickyRewrites: every server sees in a path that a template has made what the
// template makes of the path as that server sees it.
func TestTrickyRewrites(t *testing.T) {
	piece := rapid.SampledFrom([]string{"/", "/", "%2f", "%5c", ";", "%3B", ".", "//", "a", "%61", "b", "f"})
	rapid.Check(t, func(t *rapid.T) {
		expression := rapid.SampledFrom([]string{"^/f/(.*)()$", "^/f/([^/]*)/?(.*)$", "^(/.*)/([^/]*)$"}).Draw(t, "regex")
		text := rapid.SampledFrom([]string{"/x/$1", "/$1.txt", "/$2/$1", "$1/y$2", "/p"}).Draw(t, "template")
		template, err := pattern.ParsePathTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		r, judge := mustRegex(t, expression), regexp.MustCompile("(?s)"+expression)
		for range 10 {
			path := "/f/" + strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces"), "")
			result, ok := template.Apply(nil, r, []byte(path))
			if !ok {
				continue
			}
			for i, server := range servers {
				before, after := server(path), server(string(result))
				found := judge.FindStringSubmatch(before)
				if found == nil {
					t.Fatalf("%q: server %d sees %q, which %s doesn't match", path, i, before, expression)
				}
				want := strings.NewReplacer("$1", found[1], "$2", found[2]).Replace(text)
				if !strings.HasPrefix(want, "/") {
					want = "/" + want
				}
				// Where pieces meet there may be two slashes, which some servers merge.
				if manySlashes.ReplaceAllString(want, "/") != manySlashes.ReplaceAllString(after, "/") {
					t.Fatalf("%s: %q became %q: server %d sees %q and then %q, want %q", text, path, result, i, before, after, want)
				}
			}
		}
	})
}

func TestMoreConditions(t *testing.T) {
	notWebSocket := false
	host, err := pattern.ParseHost("example.com")
	if err != nil {
		t.Fatal(err)
	}
	tab := table(t,
		rule{Label: "numbered", When: &Conditions{HostRegex: mustRegex(t, `^ws[0-9]+\.Example\.com$`).FoldCase()}},
		rule{Label: "office", When: &Conditions{Client: networks("10.0.0.0/8", "2001:db8::/32")}},
		rule{Label: "guarded", Path: "/admin", When: &Conditions{Not: []Exception{
			{When: &Conditions{Headers: named(t, "x-key=~^k[0-9]+$")}},
			{Host: host, WebSocket: &notWebSocket},
		}}},
		rule{Label: "queried", When: &Conditions{Query: named(t, "v=~^(?i:new)$")}},
		rule{Label: "rest"},
	)
	bad := ErrAmbiguous.Error()
	for _, tt := range []struct {
		host, path string
		websocket  bool
		request    asked
		want       string
	}{
		{"WS12.example.com:80", "/", true, asked{}, "numbered"},
		{"ws.example.com", "/", true, asked{}, "rest"},
		{"ws1.example.com.evil", "/", true, asked{}, "rest"},
		{"h", "/", true, asked{client: "10.1.2.3"}, "office"},
		{"h", "/", true, asked{client: "::ffff:10.1.2.3"}, "office"},
		{"h", "/", true, asked{client: "2001:db8::1"}, "office"},
		{"h", "/", true, asked{client: "11.0.0.1"}, "rest"},
		{"h", "/admin", true, asked{}, "guarded"},
		{"h", "/admin", true, asked{header: map[string][]string{"X-Key": {"k1"}}}, "rest"},
		{"h", "/admin", true, asked{header: map[string][]string{"X-Key": {"k1", "k2"}}}, "rest"},
		{"h", "/admin", true, asked{header: map[string][]string{"X-Key": {"k1", "x"}}}, bad},
		{"h", "/admin", true, asked{header: map[string][]string{"X-Key": {"x", "y"}}}, "guarded"},
		{"example.com", "/admin", true, asked{}, "guarded"},
		{"example.com", "/admin", false, asked{}, "rest"},
		{"example.com", "/admin", false, asked{header: map[string][]string{"X-Key": {"k1", "x"}}}, "rest"}, // excluded in any reading
		{"h", "/", true, asked{query: "v=N%65W"}, "queried"},
		{"h", "/", true, asked{query: "v=news"}, "rest"},
		{"h", "/", true, asked{query: "v=new&v=old"}, bad},
	} {
		if got := outcome(tab.Match(tt.host, tt.path, tt.websocket, &tt.request)); got != tt.want {
			t.Errorf("%s%s %+v: %s, want %s", tt.host, tt.path, tt.request, got, tt.want)
		}
	}
	long := "/" + strings.Repeat("a", pattern.MaxPath) + "//"
	if got := outcome(tab.Match("h", long, true, &asked{})); got != "rest" {
		t.Errorf("a long path: %s", got)
	}
	byRegex := New([]Rule{{When: &Conditions{Not: []Exception{{When: &Conditions{PathRegex: mustRegex(t, "b$")}}}}}})
	if _, err := byRegex.Match("h", long, true, &asked{}); err != ErrBadPath {
		t.Errorf("a long path with %q and a regular expression: %v", "//", err)
	}
	if _, err := byRegex.Match("h", strings.TrimSuffix(long, "//"), true, &asked{}); err != nil {
		t.Errorf("a long plain path and a regular expression: %v", err)
	}
}

// TestOneValueOfMany is TestWhoeverReadsOneValue for exceptions and expressions.
func TestOneValueOfMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SampledFrom([]string{"a", "b", "ab", ""})
		patterns := rapid.SampledFrom([]string{"a", "~b", "*", "~^a", "*b"})
		var condition func(depth int) *Conditions
		condition = func(depth int) *Conditions {
			c := &Conditions{}
			if rapid.Bool().Draw(t, "header") {
				c.Headers = named(t, "x="+patterns.Draw(t, "x"))
			}
			if rapid.Bool().Draw(t, "query") {
				c.Query = named(t, "q="+patterns.Draw(t, "q"))
			}
			for range rapid.IntRange(0, depth).Draw(t, "not") {
				c.Not = append(c.Not, Exception{When: condition(depth - 1)})
			}
			return c
		}
		var rules []Rule
		for range rapid.IntRange(1, 3).Draw(t, "rules") {
			rules = append(rules, Rule{When: condition(2)})
		}
		tab := New(rules)
		xs, qs := rapid.SliceOfN(value, 1, 3).Draw(t, "xs"), rapid.SliceOfN(value, 1, 3).Draw(t, "qs")
		all := asked{header: map[string][]string{"X": xs}, query: "q=" + strings.Join(qs, "&q=")}
		found, err := tab.Match("h", "/", true, &all)
		if err == ErrAmbiguous {
			return
		}
		for _, x := range xs {
			for _, q := range qs {
				one := asked{header: map[string][]string{"X": {x}}, query: "q=" + q}
				if other, otherErr := tab.Match("h", "/", true, &one); other != found || otherErr != err {
					t.Fatalf("the values %q and %q lead to %v, %v; %q and %q to %v, %v", xs, qs, found, err, x, q, other, otherErr)
				}
			}
		}
	})
}

// TestNewConditionsDoNotAllocate: only regular expressions may, and not for a plain path.
func TestNewConditionsDoNotAllocate(t *testing.T) {
	tab := table(t,
		rule{Label: "1", When: &Conditions{PathExact: mustExact(t, "/a%20b")}, Host: "x"},
		rule{Label: "2", When: &Conditions{PathBegins: mustBegin(t, "/b")}},
		rule{Label: "3", When: &Conditions{Client: networks("192.0.2.0/24")}},
		rule{Label: "4", When: &Conditions{Not: []Exception{{When: &Conditions{Client: networks("10.0.0.0/8")}}}}},
		rule{Label: "5", When: &Conditions{HostRegex: mustRegex(t, "^x").FoldCase()}},
		rule{Label: "6", When: &Conditions{PathRegex: mustRegex(t, "^/rooms/[0-9]+$")}},
	)
	host, path, request := []byte("h"), []byte("/rooms/123?x"), &fixed{}
	if n := testing.AllocsPerRun(1000, func() {
		if r, err := tab.MatchBytes(host, path, true, request); err != nil || r.Label != "6" {
			t.Error(r, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a Match", n)
	}
}

// $ of other servers matches before a newline at the end, so that a rule that guards
// some files would not be that for their names with one.
func TestNewlineInPath(t *testing.T) {
	tab := table(t, rule{Label: "guarded", When: &Conditions{PathRegex: mustRegex(t, `\.sql$`)}}, rule{Label: "rest"})
	for path, want := range map[string]string{
		"/a.sql": "guarded", "/a.sql%0a": ErrBadPath.Error(), "/a%0Ab": ErrBadPath.Error(), "/a%20b": "rest", "/a%250a": "rest",
	} {
		if got := outcome(tab.Match("h", path, true, nil)); got != want {
			t.Errorf("path %q: %s, want %s", path, got, want)
		}
		if got := outcome(tab.MatchBytes([]byte("h"), []byte(path), true, nil)); got != want {
			t.Errorf("path %q as bytes: %s, want %s", path, got, want)
		}
	}
}

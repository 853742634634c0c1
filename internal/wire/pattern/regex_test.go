package pattern

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func mustRegex(t interface{ Fatal(...any) }, s string) Regex {
	r, err := ParseRegex(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParseRegex(t *testing.T) {
	for s, want := range map[string]string{
		"^/ws$":                       "",
		"(?i)a|b":                     "",
		"(?<name>x)(?P<other>y)":      "",
		`[0-9]{1,3}(\.[0-9]{1,3}){3}`: "",
		"":                            "empty",
		"(":                           "missing closing )",
		"a**":                         "invalid nested repetition operator",
		"(?=a)":                       "look ahead or behind",
		"(?<!a)b":                     "look ahead or behind",
		`(a)\1`:                       "can't refer back",
		"(x{30}){30}":                 "", // 900 instructions
		"(x{31}){32}":                 "take too long",
		"[a-z]{1000}":                 "take too long",
		"a\nb":                        "control characters",
		strings.Repeat("a", 900):      "",
		strings.Repeat("a", 1025):     "longer than 1024 bytes",
	} {
		r, err := ParseRegex(s)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", s, err, want)
		}
		if err == nil && (r.String() != s || r.IsZero()) {
			t.Errorf("%.40q became %q", s, r)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%q: the error has several lines: %v", s, err)
		}
	}
	var zero Regex
	if !MatchRegex(zero, "x") || zero.Groups() != 0 || !zero.FoldCase().IsZero() {
		t.Error("the zero Regex doesn't match everything")
	}
	r := mustRegex(t, "^A(b)?$")
	if r.Groups() != 1 || MatchRegex(r, "a") || !MatchRegex(r.FoldCase(), "aB") || MatchRegex(r.FoldCase(), "ac") || !MatchRegex(r, []byte("Ab")) {
		t.Error("case or groups are wrong")
	}
}

func TestParseValue(t *testing.T) {
	for _, tt := range []struct{ pattern, value string }{
		{"~^[0-9]+$", "12"}, {"~b", "abc"}, {"a*", "a"}, {"*", ""}, {"~^~$", "~"}, {"~(?i)^x$", "X"},
	} {
		v, err := ParseValue(tt.pattern)
		if err != nil || !v.Matches([]byte(tt.value)) || v.String() != tt.pattern {
			t.Errorf("%q doesn't match %q: %v", tt.pattern, tt.value, err)
		}
	}
	for pattern, value := range map[string]string{"~^[0-9]+$": "1a", "a": "A", "~^$": "x"} {
		if v, err := ParseValue(pattern); err != nil || v.Matches([]byte(value)) {
			t.Errorf("%q matches %q: %v", pattern, value, err)
		}
	}
	for _, s := range []string{"", "~", "~(", " a"} {
		if _, err := ParseValue(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestLiteralPaths(t *testing.T) {
	for _, tt := range []struct {
		pattern         string
		exact, begins   []string // that it matches so
		neither         []string
		exactIn, within string // the Path that contains all
	}{
		{"/ws", []string{"/ws", "/%77s"}, []string{"/wsx", "/ws/", "/ws/x"}, []string{"/w", "/WS", "/x/ws", "", "*"}, "/ws", ""},
		{"/ws/", []string{"/ws/"}, []string{"/ws/x"}, []string{"/ws", "/wsx", "/ws%2f"}, "/ws", "/ws"},
		{"/", []string{"/"}, []string{"/x"}, []string{"", "*"}, "", ""},
		{"/a%20b/c", []string{"/a%20b/c"}, []string{"/a%20b/cd"}, []string{"/a+b/c"}, "/a%20b/c", "/a%20b"},
	} {
		exact, err := ParseExactPath(tt.pattern)
		begin, beginErr := ParseBeginPath(tt.pattern)
		if err != nil || beginErr != nil || exact.Path().String() != tt.exactIn || begin.Path().String() != tt.within {
			t.Errorf("%s: %v, %v, in %q and %q", tt.pattern, err, beginErr, exact.Path(), begin.Path())
			continue
		}
		for i, paths := range [][]string{tt.exact, tt.begins, tt.neither} {
			for _, p := range paths {
				if MatchExactPath(exact, p, 0) != (i == 0) || MatchBeginPath(begin, p, 0) != (i < 2) {
					t.Errorf("%s: exact %s is %t, beginning is %t", tt.pattern, p, MatchExactPath(exact, p, 0), MatchBeginPath(begin, p, 0))
				}
			}
		}
	}
	for _, s := range []string{"", "x", "/a//b", "/a/../b", "/a?b", "/a%2fb", "/a;b", "/*", "/%4"} {
		if _, err := ParseExactPath(s); err == nil {
			t.Errorf("%q is accepted as a path", s)
		}
		if _, err := ParseBeginPath(s); err == nil {
			t.Errorf("%q is accepted as the beginning of one", s)
		}
	}
	if _, err := ParseBeginPath("/."); err != nil {
		t.Error(err)
	}
	if !MatchExactPath(ExactPath{}, "*", 0) || !MatchBeginPath(BeginPath{}, "", 0) {
		t.Error("a zero pattern doesn't match everything")
	}
}

// trickyPath is a path made of all that is tricky.
func trickyPath(t *rapid.T) string {
	piece := rapid.SampledFrom([]string{"/", "/", "/", "//", "%2f", "%5C", ";", "%3b", ".", "a", "b", "%61", "%25", "%0a", "%C3%A9", "v1"})
	return "/" + strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "pieces"), "")
}

// TestPathRegexReadings: an expression matches a path under a reading if it matches what
// the reader yields, and groups are the bytes that stand for what they have matched.
func TestPathRegexReadings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := trickyPath(t)
		peculiar, ok := Peculiarities(path)
		if !ok {
			return
		}
		r := mustRegex(t, rapid.SampledFrom([]string{"^/a(.*)$", "(b|/)+", `^/([^/]*)/(.*)`, "(?s)^(.)(.*)$", "é", "^/(a)?(b)?"}).Draw(t, "regex"))
		for as := peculiar; ; as = (as - 1) & peculiar {
			var decoded []byte
			for read := (reader[string]{rest: path, as: as}); ; {
				c, ok := read.next()
				if !ok {
					break
				}
				decoded = append(decoded, c)
			}
			want := r.re.FindSubmatch(decoded)
			if got := MatchPathRegex(r, path, as); got != (want != nil) || got != MatchPathRegex(r, []byte(path), as) {
				t.Fatalf("%s in %q as %b: %t", r, path, as, got)
			}
			groups, ok := Captured(r, []byte(path), as)
			if ok != (want != nil) {
				t.Fatalf("%s in %q as %b: captured is %t", r, path, as, ok)
			}
			for i := 1; i < len(want); i++ {
				if as == 0 && decode(string(groups[i])) != strings.ReplaceAll(string(want[i]), "\x00", "/") {
					t.Fatalf("%s in %q: group %d is %q, want %q", r, path, i, groups[i], want[i])
				}
			}
			if as == 0 {
				break
			}
		}
	})
}

func TestPathTemplate(t *testing.T) {
	for _, tt := range []struct{ regex, template, path, want string }{ // want "" is refused
		{"^/v1/(.*)$", "/api/$1", "/v1/a%20b/c", "/api/a%20b/c"},
		{"^/v1/(.*)$", "/api/${1}0", "/v1/x", "/api/x0"},
		{"^/v1/(.*)$", "/api/$10", "/v1/x", "/api/x0"},
		{"^/api(/.*)?$", "$1", "/api", "/"},
		{"^/api(/.*)?$", "$1", "/api/x", "/x"},
		{"^/api/(.*)$", "$1", "/api/x", "/x"},
		{"^/(a)?(b)?", "/x$1$2", "/b", "/xb"},
		{"", "/all", "/x", "/all"},
		{"", "/p${path}", "/x/y", "/p/x/y"},
		{"", "/$$/x%20y", "/x", "/$/x%20y"},
		{"", "/x", "*", "*"},
		{"^/api/(.*)$", "/$1", "/api//host", ""},
		{"^/api/(.*)$", "/$1", "/api/%2fhost", ""},
		{"^/api/(.*)$", "/$1", "/api/%5chost", ""},
		{"^/api/(.*)$", "/x/.$1", "/api/.", ""},
		{"^/api/(.*)$", "/x/.$1/y", "/api/", ""},
		{"^/f/([^/]*)$", "/$1.txt", "/f/secret;", ""},
		{"^/f/([^/]*)$", "/$1.txt", "/f/secret%3b", ""},
		{"^/f/([^/]*)$", "/$1/x", "/f/a;b", "/a;b/x"},
		{"^/f/(.*)$", "/x/$1", "/f/a//b", "/x/a//b"},
		{"^/f/(.*)$", "/x/$1", "/f/a%2Fb", "/x/a%2Fb"},
		{"^/f/([^/]*)(.*)$", "/x$2/$1", "/f/a%2Fb", ""},
		{"^/api/(.*)$", "/$1", "/other", ""},
		{"^/api/(.*)$", "/$1", "/api/../x", ""},
	} {
		template, err := ParsePathTemplate(tt.template)
		if err != nil {
			t.Error(err)
			continue
		}
		var r Regex
		if tt.regex != "" {
			r = mustRegex(t, tt.regex)
		}
		got, ok := template.Apply([]byte("space"), r, []byte(tt.path))
		if string(got) != tt.want || ok != (tt.want != "") {
			t.Errorf("%s with %s of %s: %q, %t; want %q", tt.template, tt.regex, tt.path, got, ok, tt.want)
		}
		if template.String() != tt.template {
			t.Errorf("%q became %q", tt.template, template.String())
		}
	}
	for _, s := range []string{"", "x", "/$", "/$0", "/$x", "/${10}", "/${1", "/a b", "/a?b", "/%4", "/a//b", "/a/../b", "/./$1", "/" + strings.Repeat("$1/", 40), "/" + strings.Repeat("x", 2048)} {
		if _, err := ParsePathTemplate(s); err == nil {
			t.Errorf("%.40q is accepted", s)
		}
	}
}

// FuzzPathTemplate: a path that Apply makes has no dot segments and begins with one slash
// in the eyes of every reader; and whoever reads the path in some way sees in the result
// what the template makes of that.
func FuzzPathTemplate(f *testing.F) {
	f.Add("^/a/(.*)$", "/x/$1", "/a/b;c//d%2fe")
	f.Add("(.)(.)", "$2/$1${path}", "/%2e%2E")
	f.Add("/([^/]*)$", "/$1.txt", "/x;y")
	f.Add("", "/$$%20", "*")
	f.Fuzz(func(t *testing.T, expression, template, target string) {
		path := WithoutQuery(target) // the caller cuts off the query
		tmpl, err := ParsePathTemplate(template)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("%q: %v", template, err)
			}
			return
		}
		var r Regex
		if expression != "" {
			if r, err = ParseRegex(expression); err != nil || r.Groups() < tmpl.Groups() {
				return
			}
		}
		result, ok := tmpl.Apply(nil, r, []byte(path))
		if !ok {
			return
		}
		if path == "*" || path == "" {
			if string(result) != path {
				t.Errorf("%q became %q", path, result)
			}
			return
		}
		if _, ok := Peculiarities(result); !ok || result[0] != '/' || bytes.HasPrefix(result, []byte("//")) || bytes.ContainsAny(result, "? \r\n\\") {
			t.Fatalf("%q of %q: %q", template, path, result)
		}
		var groups [10]string
		if r.re != nil {
			raw, _ := Captured(r, []byte(path), 0)
			for i := range raw {
				groups[i] = string(raw[i])
			}
		}
		groups[0] = path
		want := regexp.MustCompile(`\$(\$|\{path\}|\{[1-9]\}|[1-9])`).ReplaceAllStringFunc(template, func(v string) string {
			switch v = strings.Trim(v[1:], "{}"); v {
			case "$":
				return v
			case "path":
				return path
			}
			return groups[v[0]-'0']
		})
		if !strings.HasPrefix(want, "/") {
			want = "/" + want
		}
		if want != string(result) {
			t.Errorf("%q of %q: %q, want %q", template, path, result, want)
		}
	})
}

// TestRegexTime: the worst that a client can do to the worst expression takes a bounded
// time. It is generous, since a slow machine must not fail.
func TestRegexTime(t *testing.T) {
	path := []byte("/" + strings.Repeat("a", 4<<10-1))
	for _, s := range []string{"(a{1,20}b|a{1,20}c){1,10}$", "(a+a+)+b", "(?:a|aa)+$b", strings.Repeat("a?", 300) + strings.Repeat("a", 300) + "b"} {
		r := mustRegex(t, s)
		began := time.Now()
		MatchPathRegex(r, path, 0)
		took := time.Since(began)
		t.Logf("%.30s: %v", s, took)
		if took > 30*time.Second {
			t.Errorf("%.30s takes %v", s, took)
		}
	}
}

func BenchmarkPathRegex(b *testing.B) {
	r := mustRegex(b, `^/rooms/([0-9]+)/ws$`)
	for _, path := range []string{"/rooms/1234/ws", "/rooms/12%334/ws", "/other"} {
		b.Run(fmt.Sprintf("%q", path), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				MatchPathRegex(r, []byte(path), 0)
			}
		})
	}
}

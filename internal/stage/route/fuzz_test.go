package route

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// servers are ways to understand a path, each written down as plainly as
// possible and in the order a server would take: they are the judges of Match.
var servers = func() (all []func(path string) string) {
	for _, cutRaw := range []bool{false, true} {
		for _, slashes := range []bool{false, true} {
			for _, backslashes := range []bool{false, true} {
				for _, cutDecoded := range []bool{false, true} {
					for _, merge := range []bool{false, true} {
						all = append(all, func(p string) string {
							p, _, _ = strings.Cut(p, "?")
							if cutRaw {
								p = cutParameters(p)
							}
							if !slashes {
								p = encodedSlash.ReplaceAllString(p, "\x01")
							}
							p, _ = url.PathUnescape(p)
							if backslashes {
								p = strings.ReplaceAll(p, `\`, "/")
							}
							if cutDecoded {
								p = cutParameters(p)
							}
							if merge {
								p = manySlashes.ReplaceAllString(p, "/")
							}
							return p
						})
					}
				}
			}
		}
	}
	return all
}()

var (
	encodedSlash = regexp.MustCompile("(?i)%2f")
	manySlashes  = regexp.MustCompile("/+")
)

func cutParameters(p string) string {
	segments := strings.Split(p, "/")
	for i := range segments {
		segments[i], _, _ = strings.Cut(segments[i], ";")
	}
	return strings.Join(segments, "/")
}

// judged are the rules' paths for what follows; all else goes to "rest".
var judged = []string{"/ws/deep/er", "/ws", "/ws/deep", "/x", "/api/v1"}

func judgedTable(t testing.TB) *Table {
	var rules []rule
	for _, p := range judged {
		rules = append(rules, rule{Path: p})
	}
	return table(t, append(rules, rule{Label: "rest"})...)
}

// judge checks that what Match lets pass leads to the same rule in the eyes of
// every server, and has no dot segments in any.
func judge(t interface{ Fatalf(string, ...any) }, tab *Table, path string) {
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
		segments := strings.Split(seen, "/")
		if slices.Contains(segments, ".") || slices.Contains(segments, "..") {
			t.Fatalf("%q: passed, and server %d sees dot segments in %q", path, i, seen)
		}
		want := "rest"
		for _, p := range judged {
			if seen == p || strings.HasPrefix(seen, p+"/") {
				want = p
				break
			}
		}
		if r.Label != want {
			t.Fatalf("%q: rule %s, but server %d sees %q, which is for %s", path, r.Label, i, seen, want)
		}
	}
}

func FuzzMatchPath(f *testing.F) {
	for _, p := range []string{
		"/ws", "/ws/x", "/wsx", "/api/../ws", "//ws", "/%2e%2e/ws", "/ws%2Fdeep", "/ws%5cdeep", "/..;/ws", "/;/ws",
		"/ws;a%2f..%2f/x", "/x%3b/ws", "/ws/deep//x", "/ws?/../", "/%00", "/%77s", "*", "", "/a%2Fb;c\\d", "/ws/%3b%2fdeep",
	} {
		f.Add(p)
	}
	tab := judgedTable(f)
	f.Fuzz(func(t *testing.T, path string) { judge(t, tab, path) })
}

// Paths put together from all that is tricky reach further than random bytes.
func TestTrickyPaths(t *testing.T) {
	tab := judgedTable(t)
	piece := rapid.SampledFrom([]string{
		"/", "/", "/", "%2f", "%2F", "%5c", ";", "%3B", ".", "..", "%2e", "//",
		"ws", "%77s", "deep", "er", "x", "api", "v1", "y",
	})
	rapid.Check(t, func(t *rapid.T) {
		for range 50 {
			judge(t, tab, "/"+strings.Join(rapid.SliceOfN(piece, 0, 10).Draw(t, "pieces"), ""))
		}
	})
}

// A plain path is never refused.
func FuzzPlainPath(f *testing.F) {
	f.Add("ws", "x.y")
	f.Add("...", "a b%?#;/\\..")
	tab := table(f, rule{Path: "/ws"}, rule{Label: "rest"})
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []string{a, b} {
			if s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\\;\x00") {
				return
			}
		}
		path := "/" + url.PathEscape(a) + "/" + url.PathEscape(b)
		want := "rest"
		if a == "ws" {
			want = "/ws"
		}
		if got := outcome(tab.Match("h", path, true, nil)); got != want {
			t.Errorf("%q: %s, want %s", path, got, want)
		}
	})
}

func FuzzMatchHost(f *testing.F) {
	for _, h := range []string{"ws.example.com", "a.ws.example.com:80", "example.com.", "[::1]:80", ":", "..", "]:["} {
		f.Add(h)
	}
	tab := table(f, rule{Host: "ws.example.com"}, rule{Host: "*.example.com"}, rule{Label: "rest"})
	f.Fuzz(func(t *testing.T, host string) {
		name := host
		if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
			name = host[:i]
		}
		name = strings.TrimSuffix(name, ".")
		want := "rest"
		switch {
		case asciiLower(name) == "ws.example.com":
			want = "ws.example.com"
		case strings.HasSuffix(asciiLower(name), ".example.com") && name[0] != '.':
			want = "*.example.com"
		}
		if got := outcome(tab.Match(host, "/", true, nil)); got != want {
			t.Errorf("%q: %s, want %s", host, got, want)
		}
	})
}

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

package pattern

import (
	"strings"
	"testing"
)

func mustPath(t testing.TB, s string) Path {
	t.Helper()
	p, err := ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRewrite(t *testing.T) {
	const refused = "refused"
	for _, tt := range []struct{ from, to, path, want string }{
		{"/api", "/", "/api", "/"},
		{"/api", "/", "/api/", "/"},
		{"/api", "/", "/api/x/", "/x/"},
		{"/api", "/v2", "/api", "/v2"},
		{"/api", "/v2/", "/api/x", "/v2/x"},
		{"/api", "/v2", "/apix", "/apix"},
		{"/api", "/v2", "/API/x", "/API/x"},
		{"/", "/app", "/", "/app/"},
		{"/", "/app", "/x", "/app/x"},
		{"/a/b", "/b", "/a/b/c", "/b/c"},
		{"/a%20b", "/c", "/%61%20b/x%20y", "/c/x%20y"},
		{"/api", "/", "*", "*"},

		// Another server might find the prefix elsewhere, or not at all.
		{"/api", "/", "/api;x/y", refused},
		{"/api", "/", "/api%3Bx/y", refused},
		{"/api", "/", "//api/x", refused},
		{"/api", "/", "/api%2Fx", refused},
		{"/api", "/", "/api%5Cx", refused},
		{"/a/b", "/", "/a//b/x", refused},
		{"/a/b", "/", "/a%2fb/x", refused},
		// Dot segments, in any form.
		{"/api", "/", "/api/../x", refused},
		{"/api", "/", "/api/%2e%2E/x", refused},
		{"/api", "/", "/x/..%2fapi", refused},
		{"/api", "/", "/api/..;/x", refused},
		{"/api", "/", "/api/x%00", refused},
		// What is left would look like a host.
		{"/api", "/", "/api//evil.example", refused},
		{"/api", "/", "/api/%2Fevil.example", refused},
		{"/api", "/", "/api/%5cevil.example", refused},
		{"/api", "/", "/api/;/evil.example", refused},
		{"/api", "/v2", "/api//x", "/v2//x"},
		// This is the backend's own affair.
		{"/api", "/", "/api/x//y;z/a%2Fb", "/x//y;z/a%2Fb"},
		{"/api", "/", "/other//x", "/other//x"},
	} {
		r := Rewrite{From: mustPath(t, tt.from), To: mustPath(t, tt.to)}
		result, replaced, ok := r.Apply(make([]byte, 1, 4), []byte(tt.path))
		got := string(result)
		if !ok {
			got = refused
		}
		if got != tt.want || ok && replaced != (tt.path != tt.want) {
			t.Errorf("%s to %s makes %q of %q (%t), want %q", tt.from, tt.to, got, tt.path, replaced, tt.want)
		}
	}
}

func TestRewritePrefix(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"/api", "/", "/api"}, {"/a/b", "/b", "/a"}, {"/api", "/v2", ""}, {"/", "/app", ""}, {"/xb", "/b", ""},
	} {
		if got := (Rewrite{mustPath(t, tt.from), mustPath(t, tt.to)}).Prefix(); got != tt.want {
			t.Errorf("%s to %s: prefix %q, want %q", tt.from, tt.to, got, tt.want)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, tt := range []struct {
		p, q string
		want bool
	}{{"/a", "/a/b", true}, {"/a/b", "/a", true}, {"/", "/a", true}, {"/a", "/ab", false}, {"/a", "/b", false}, {"/%61", "/a", true}} {
		if got := mustPath(t, tt.p).Overlaps(mustPath(t, tt.q)); got != tt.want {
			t.Errorf("%s and %s: %t", tt.p, tt.q, got)
		}
	}
}

// FuzzRewrite: in no reading has a path that is rewritten another rest behind its prefix
// than in any other, and it never begins like a host.
func FuzzRewrite(f *testing.F) {
	for _, s := range []string{"/api/x", "/api", "/api//x", "/api;a/x", "/%61pi/%2e%2e", "/a%2Fb", "//api", "/api/\\x", "*", "/api/%3b/x"} {
		f.Add(s, "/api", "/")
	}
	f.Add("/x", "/", "/v2")
	f.Fuzz(func(t *testing.T, path, from, to string) {
		p, err := ParsePath(from)
		q, err2 := ParsePath(to)
		if err != nil || err2 != nil {
			return
		}
		result, replaced, ok := Rewrite{p, q}.Apply(nil, []byte(path))
		if !ok || !replaced {
			if ok && string(result) != path {
				t.Errorf("%q became %q", path, result)
			}
			return
		}
		if strings.HasPrefix(string(result), "//") && !strings.HasPrefix(path, "//") {
			t.Errorf("%q became %q", path, result)
		}
		peculiar, ok := Peculiarities(string(result))
		if !ok {
			t.Fatalf("%q became %q, which must be refused", path, result)
		}
		for as := peculiar; ; as = (as - 1) & peculiar {
			if !MatchPath(q, string(result), as) {
				t.Errorf("%q became %q, which doesn't begin with %q in the reading %b", path, result, q, as)
			}
			if as == 0 {
				break
			}
		}
	})
}

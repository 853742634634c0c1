package pattern

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	host := func(s string) (string, error) { h, err := ParseHost(s); return h.String(), err }
	path := func(s string) (string, error) { p, err := ParsePath(s); return p.String(), err }
	for _, c := range []struct {
		parse    func(string) (string, error)
		in, want string
	}{
		{host, "WS.Example.com.", "ws.example.com"},
		{host, "*.Example.com", "*.example.com"},
		{host, "[2001:db8::0:1]", "[2001:db8::1]"},
		{host, "10.0.0.1", "10.0.0.1"},
		{path, "/ws/", "/ws"},
		{path, "/a%20b", "/a%20b"},
		{path, "/", ""},
	} {
		if got, err := c.parse(c.in); err != nil || got != c.want {
			t.Errorf("%q became %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	host := func(s string) error { _, err := ParseHost(s); return err }
	path := func(s string) error { _, err := ParsePath(s); return err }
	for _, c := range []struct {
		parse    func(string) error
		in, want string
	}{
		{host, "*", `leave the key out`},
		{host, "a.*.com", `stands only at the beginning`},
		{host, "*.*.com", `stands only at the beginning`},
		{host, "*a.com", `stands only at the beginning`},
		{host, "*.", `is not a host name`},
		{host, ".", `is not a host name`},
		{host, "a..b", `is not a host name`},
		{host, "a.com:80", `without a port`},
		{host, "::1", `in brackets`},
		{host, "[::1]:80", `brackets are for an IPv6 address without a port`},
		{host, "[10.0.0.1]", `brackets are for an IPv6 address`},
		{host, "[::1", `brackets are for an IPv6 address`},
		{host, "bücher.de", `xn--`},
		{host, "http//x", `a path has a key of its own`},
		{path, "ws", `must begin with`},
		{path, "/ws/*", `a path is a prefix already`},
		{path, "/ws?x", `a route looks only at the path`},
		{path, "/a/../b", `empty segments`},
		{path, "//", `empty segments`},
		{path, "/a%2Fb", `servers disagree`},
		{path, "/a;b", `servers disagree`},
		{path, "/a%zz", `two hex digits`},
		{path, "/a b", `must be percent-encoded`},
	} {
		if err := c.parse(c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want an error with %q", c.in, err, c.want)
		}
	}
}

func TestWider(t *testing.T) {
	for in, want := range map[string]string{
		"a.b.example": "a.b.example *.b.example *.example ",
		"*.b.example": "*.b.example *.example ",
		"localhost":   "localhost ",
		"10.0.0.1":    "10.0.0.1 ",
		"[::1]":       "[::1] ",
	} {
		h, err := ParseHost(in)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range h.Wider() {
			got = append(got, w.String())
		}
		if joined := strings.Join(got, " "); joined != want {
			t.Errorf("Wider of %q: %q, want %q", in, joined, want)
		}
	}
	if all := (Host{}).Wider(); !slices.Equal(all, []Host{{}}) {
		t.Errorf("Wider of the zero Host: %v", all)
	}
}

// FuzzParse: an accepted pattern has a normal form that is read as the same
// pattern, and every server reads an accepted path alike.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"*.example.com", "WS.Example.com.", "[2001:db8::0:1]", "a..b", "/", "/ws/", "/a%20b", "/a/../b", "//", "/%2e", "/x%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := ParseHost(s); err == nil {
			if again, err := ParseHost(h.String()); err != nil || again != h {
				t.Errorf("host %q became %q, and that %q, %v", s, h, again, err)
			}
			if !MatchHost(h, BareHost(strings.Replace(h.String(), "*.", "a.", 1))) {
				t.Errorf("host %q doesn't match itself", h)
			}
		}
		p, err := ParsePath(s)
		if err != nil || p == (Path{}) {
			return
		}
		if again, err := ParsePath(p.String()); err != nil || again != p {
			t.Errorf("path %q became %q, and that %q, %v", s, p, again, err)
		}
		if peculiar, ok := Peculiarities(p.String()); !ok || peculiar != 0 {
			t.Errorf("path %q is read differently by servers", p)
		}
		if !MatchPath(p, p.String(), 0) || !MatchPath(p, p.String()+"/x", 0) || MatchPath(p, p.String()+"x", 0) {
			t.Errorf("path %q matches wrongly", p)
		}
	})
}

package origin

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

func hostname(host string) []byte { return httphead.AppendHostname(nil, []byte(host)) }

// admits reports whether a page of an origin may open a WebSocket at host by the patterns.
func admits(t testing.TB, origin, host string, patterns ...string) bool {
	t.Helper()
	var room Room
	o, ok := Read([]byte(origin), &room)
	for _, s := range patterns {
		p, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if ok && p.Admits(&o, hostname(host)) {
			return true
		}
	}
	return false
}

// TestSameSite has pairs of an Origin and a Host. The expected results are those of the
// public suffix list at publicsuffix.org.
func TestSameSite(t *testing.T) {
	for _, c := range []struct {
		origin, host string
		same         bool
	}{
		// The same host, whatever the port, the scheme and the case.
		{"https://example.com", "example.com", true},
		{"https://example.com", "example.com:443", true},
		{"https://example.com:8443", "example.com", true},
		{"http://example.com:3000", "example.com:8080", true},
		{"http://example.com", "example.com:443", true},
		{"HTTPS://EXAMPLE.com", "Example.COM", true},
		{"https://example.com.", "example.com", true},
		{"https://example.com", "example.com.", true},
		{"https://example.com.:8080", "example.com.:1", true},

		// The same registrable domain.
		{"https://app.example.com", "ws.example.com", true},
		{"https://example.com", "ws.example.com", true},
		{"https://a.b.c.example.com", "example.com", true},
		{"https://www.example.co.uk", "ws.example.co.uk", true},
		{"https://shop.example.com.au", "ws.example.com.au", true},
		{"https://a.example.kawasaki.jp", "b.example.kawasaki.jp", false}, // *.kawasaki.jp is a rule
		{"https://x.a.example.kawasaki.jp", "y.a.example.kawasaki.jp", true},
		{"https://www.city.kawasaki.jp", "ws.city.kawasaki.jp", true}, // an exception of that rule
		{"https://xn--bcher-kva.example", "ws.xn--bcher-kva.example", true},
		{"https://app.xn--55qx5d.cn", "ws.xn--55qx5d.cn", false}, // a public suffix in punycode
		{"https://a.b.xn--55qx5d.cn", "c.b.xn--55qx5d.cn", true},
		{"https://app.corp.internal", "ws.corp.internal", true}, // not in the list: by the rule "*"
		{"https://my_app.example.com", "ws.example.com", true},

		// Other sites.
		{"https://evil.com", "example.com", false},
		{"https://example.com.evil.com", "example.com", false},
		{"http://example.com.evil.com", "ws.example.com", false},
		{"https://notexample.com", "example.com", false},
		{"https://example.org", "example.com", false},
		{"https://com", "example.com", false},
		{"https://example.com", "com", false},
		{"https://evil.co.uk", "example.co.uk", false},
		{"https://co.uk", "example.co.uk", false},
		{"https://co.uk", "co.uk", true}, // the same host, though nobody has it
		{"https://evil.internal", "example.internal", false},

		// Suffixes below which strangers have names.
		{"https://evil.github.io", "me.github.io", false},
		{"https://github.io", "me.github.io", false},
		{"https://a.me.github.io", "b.me.github.io", true},
		{"https://evil.s3.amazonaws.com", "me.s3.amazonaws.com", false},
		{"https://evil.herokuapp.com", "me.herokuapp.com", false},

		// Addresses, only by themselves.
		{"http://127.0.0.1:3000", "127.0.0.1:8080", true},
		{"http://127.0.0.1", "127.0.0.2", false},
		{"http://1.2.3.4", "9.9.3.4", false},
		{"http://10.0.3.4", "3.4", false},
		{"http://localhost", "127.0.0.1", false},
		{"http://[::1]:3000", "[::1]", true},
		{"http://[0:0::1]", "[::1]:80", true},
		{"http://[::1]", "[::2]", false},
		{"http://[2001:DB8::A]", "[2001:db8::a]:9", true},
		{"http://[::ffff:1.2.3.4]", "[::ffff:9.2.3.4]", false},
		{"http://[::1]", "127.0.0.1", false},
		{"http://01.2.3.4", "09.2.3.4", false},
		{"http://a.0x7f000001", "b.0x7f000001", false},
		{"http://1.example.2", "5.example.2", false},

		// Names of one label.
		{"http://localhost:3000", "localhost:8080", true},
		{"http://LOCALHOST", "localhost", true},
		{"http://web:3000", "ws:8080", false},
		{"http://a.localhost", "localhost", false},
		{"http://a.localhost", "b.localhost", false},
		{"http://a.localhost", "a.localhost:1", true},

		// Not of the web, or of nobody.
		{"null", "example.com", false},
		{"chrome-extension://abcdefghijklmnop", "abcdefghijklmnop", false},
		{"app://example.com", "example.com", false},
		{"ws://example.com", "example.com", false},
		{"file://", "example.com", false},

		// Not what a browser sends.
		{"", "example.com", false},
		{"example.com", "example.com", false},
		{"https:example.com", "example.com", false},
		{"https:/example.com", "example.com", false},
		{"https://", "example.com", false},
		{"https:///example.com", "example.com", false},
		{"://example.com", "example.com", false},
		{"//example.com", "example.com", false},
		{"https://example.com/", "example.com", false},
		{"https://example.com/path", "example.com", false},
		{"https://example.com?", "example.com", false},
		{"https://example.com#", "example.com", false},
		{"https://evil.com@example.com", "example.com", false},
		{"https://example.com@evil.com", "example.com", false},
		{"https://evil.com#@example.com", "example.com", false},
		{`https://evil.com\.example.com`, "example.com", false},
		{"https://evil.com%2eexample.com", "example.com", false},
		{"https://exa%6dple.com", "example.com", false},
		{"https://example.com:80:80", "example.com", false},
		{"https://example.com:x", "example.com", false},
		{"https://example.com:65536", "example.com", false},
		{"https://example.com:-1", "example.com", false},
		{"https://.example.com", "example.com", false},
		{"https://example..com", "example.com", false},
		{"https://example.com..", "example.com", false},
		{"https://[::1", "[::1]", false},
		{"https://[fe80::1%25eth0]", "[fe80::1]", false},
		{"https://bücher.example", "xn--bcher-kva.example", false},
		{"https://exampl\u0435.com", "example.com", false},
		{"https://example.com https://evil.com", "example.com", false},
		{"https://example.com, https://evil.com", "example.com", false},
		{"https://evil.com,example.com", "example.com", false},
		{"https://example.com\tx", "example.com", false},
		{"https://example.com\x00.evil.com", "example.com", false},
		{" https://example.com", "example.com", false},
		{"Null", "example.com", false},
		{"https://" + strings.Repeat("a.", 127) + "example.com", "example.com", false},

		// No host to compare with.
		{"https://example.com", "", false},
		{"https://example.com", "exa mple.com", false},
	} {
		if got := admits(t, c.origin, c.host, "same_site"); got != c.same {
			t.Errorf("origin %q at host %q: the same site %t, want %t", c.origin, c.host, got, c.same)
		}
	}
}

// TestSameSiteProperties: it is symmetric, a host is of its own site, and neither ports
// nor case nor a final dot matter. A stranger's domain is never the same site as another.
func TestSameSiteProperties(t *testing.T) {
	label := rapid.StringMatching(`[a-z]([a-z0-9-]{0,6}[a-z0-9])?`)
	suffix := rapid.SampledFrom([]string{"com", "co.uk", "github.io", "internal", "example.com", "kawasaki.jp", "1.2", "localhost"})
	host := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(append(rapid.SliceOfN(label, 0, 3).Draw(t, "labels"), suffix.Draw(t, "suffix")), ".")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := host.Draw(t, "a"), host.Draw(t, "b")
		same := SameSite([]byte(a), []byte(b))
		if SameSite([]byte(b), []byte(a)) != same {
			t.Fatalf("%q and %q: not symmetric", a, b)
		}
		if !SameSite([]byte(a), []byte(a)) {
			t.Fatalf("%q is not of its own site", a)
		}
		var room Room
		o, ok := Read([]byte("hTTps://"+strings.ToUpper(a)+".:8443"), &room)
		if !ok || OwnSite.Admits(&o, hostname(b)) != same {
			t.Fatalf("%q and %q: with case, dot and port it is not %t", a, b, same)
		}
		// Whoever has another name under a suffix is another site.
		x, y, under := label.Draw(t, "x"), label.Draw(t, "y"), rapid.SampledFrom([]string{"com", "co.uk", "github.io", "internal"}).Draw(t, "under")
		if x != y && SameSite([]byte(a+"."+x+"."+under), []byte(b+"."+y+"."+under)) {
			t.Fatalf("%q and %q under %q are one site", x, y, under)
		}
	})
}

// TestReadDoesNotAllocate, for what browsers send: the origin of the same host.
func TestReadDoesNotAllocate(t *testing.T) {
	value, host := []byte("https://App.example.com:8443"), []byte("app.example.com")
	if n := testing.AllocsPerRun(100, func() {
		var room Room
		if o, ok := Read(value, &room); !ok || !OwnSite.Admits(&o, host) {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

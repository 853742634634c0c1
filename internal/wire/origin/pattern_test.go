package origin

import (
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct{ patterns, admitted, refused string }{
		{
			"https://app.example.com",
			"https://app.example.com https://APP.example.com. https://app.example.com:443",
			"http://app.example.com https://app.example.com:8443 https://x.app.example.com https://example.com https://app.example.com.evil.com https://evil.com null http://app.example.com:443",
		},
		{
			"https://app.example.com:8443",
			"https://app.example.com:8443",
			"https://app.example.com https://app.example.com:443 http://app.example.com:8443",
		},
		{
			"https://*.example.com",
			"https://app.example.com https://a.b.example.com",
			"https://example.com https://.example.com https://notexample.com https://app.example.com:8443 https://a.example.com.evil.com http://app.example.com",
		},
		{
			"*.example.com:*",
			"https://app.example.com http://app.example.com https://a.example.com:1 http://b.example.com:65535",
			"https://example.com ws://app.example.com app://app.example.com",
		},
		{
			"app.example.com",
			"https://app.example.com http://app.example.com http://app.example.com:80",
			"https://app.example.com:80 http://app.example.com:443 capacitor://app.example.com",
		},
		{"localhost:3000", "http://localhost:3000 https://localhost:3000", "http://localhost http://localhost:30000"},
		{"http://[0::1]:3000", "http://[::1]:3000", "http://[::1] http://[::2]:3000"},
		{"http://127.0.0.1", "http://127.0.0.1", "http://127.0.0.2 http://localhost"},
		{"https://xn--bcher-kva.example", "https://XN--bcher-kva.example", "https://bücher.example"},
		{"null", "null", "Null file:// https://null"},
		{"file://", "file://", "null file://x https:// other://"},
		{"capacitor://localhost", "capacitor://localhost CAPACITOR://localhost", "http://localhost ionic://localhost"},
		{"chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop", "chrome-extension://bbcdefghijklmnop moz-extension://abcdefghijklmnop"},
		{"same_site https://partner.example", "https://app.host.example https://partner.example", "https://evil.example https://x.partner.example"},
		{"any", "https://evil.example null file://", ""},
	} {
		patterns := strings.Fields(c.patterns)
		for _, o := range strings.Fields(c.admitted) {
			if !admits(t, o, "ws.host.example", patterns...) {
				t.Errorf("%s refuses %s", c.patterns, o)
			}
		}
		for _, o := range strings.Fields(c.refused) {
			if admits(t, o, "ws.host.example", patterns...) {
				t.Errorf("%s admits %s", c.patterns, o)
			}
		}
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"any": "any", "same_site": "same_site", "null": "null",
		"HTTPS://App.Example.com.": "https://app.example.com",
		"https://a.example:443":    "https://a.example",
		"http://a.example:443":     "http://a.example:443",
		"a.example:443":            "a.example:443",
		"*.A.example:*":            "*.a.example:*",
		"http://[0::1]:3000":       "http://[::1]:3000",
		"file://":                  "file://",
	} {
		if p, err := Parse(in); err != nil || p.String() != want {
			t.Errorf("%q became %q, %v; want %q", in, p, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                        "it is empty",
		"*":                       `write "any"`,
		"https://*":               "the host is missing",
		"https://":                "the host is missing",
		"https://:80":             "the host is missing",
		":80":                     "the host is missing",
		"://a":                    "a scheme such as https",
		"1a://a":                  "a scheme such as https",
		"wss://a.example":         "http:// or https://",
		"https://a.example/":      "has no path",
		"https://a.example/x":     "has no path",
		"https://a.example?x":     "has no path",
		"https://u@a.example":     "has no user",
		"https://a.example:0":     "is not a port",
		"https://a.example:":      "is not a port",
		"https://a.example:+80":   "is not a port",
		"https://a.example:65536": "is not a port",
		"https://a.example:https": "is not a port",
		"https://bücher.example":  "punycode",
		"https://a..example":      "is not a host name",
		"https://a.*.example":     "stands only at the beginning",
		"https://::1":             "in brackets",
		"https://[::1":            "brackets are for",
		"https://1.2.3":           "is not an IPv4 address",
		"https://a.example b":     "is not a host name",
		"https://a.example,b":     "is not a host name",
		"https://a.example:8:9":   "without a port",
		"same-site":               `did you mean "same_site"?`,
	} {
		if _, err := Parse(in); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "bad origin ") {
			t.Errorf("%q: %v, want an error with %q", in, err, want)
		}
	}
}

func TestIsWide(t *testing.T) {
	for in, want := range map[string]bool{
		"https://*.com": true, "*.co.uk": true, "https://*.github.io:*": true, "*.kawasaki.jp": true,
		"https://*.example.com": false, "*.example.co.uk": false, "https://github.io": false, "*.internal": false,
		"any": false, "null": false, "same_site": false, "file://": false, "http://[::1]": false,
	} {
		p, err := Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if p.IsWide() != want {
			t.Errorf("%q is wide %t, want %t", in, !want, want)
		}
	}
}

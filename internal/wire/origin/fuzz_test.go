package origin

import (
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"
)

// FuzzRead: what is read as an origin of the web is one for net/url, too, with the same
// scheme and host. If it is admitted as the same site as a host that net/url knows, then
// the public suffix list says the same about what net/url has read.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"https://example.com", "http://[::1]:80", "null", "https://a.com@b.com", "http://a.com.evil.com", "https://EXAMPLE.com.:8443",
		"https://x.co.uk", "file://", "a+b-c.d://x", "http://1.2.3.4", "https://a.b.c.github.io:1",
	} {
		f.Add([]byte(s), []byte("ws.example.com:8080"))
	}
	f.Add([]byte("http://a.co.uk"), []byte("b.co.uk"))
	f.Fuzz(func(t *testing.T, value, host []byte) {
		var room Room
		o, ok := Read(value, &room)
		if !ok || o.opaque || !o.isWeb() {
			return
		}
		u, err := url.Parse(string(value))
		if err != nil || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" {
			t.Fatalf("%q was read as an origin; net/url: %+v, %v", value, u, err)
		}
		if !strings.EqualFold(u.Scheme, string(o.scheme)) {
			t.Fatalf("%q: scheme %q, net/url has %q", value, o.scheme, u.Scheme)
		}
		name := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
		if o.host[0] != '[' && string(o.host) != name {
			t.Fatalf("%q: host %q, net/url has %q", value, o.host, name)
		}
		if port := u.Port(); port != "" && strings.TrimLeft(port, "0") != "" && o.port == 0 {
			t.Fatalf("%q: no port, net/url has %q", value, port)
		}
		own := hostname(string(host))
		if len(own) == 0 {
			if OwnSite.Admits(&o, own) {
				t.Fatalf("%q is of the same site as no host", value)
			}
			return
		}
		if !OwnSite.Admits(&o, own) || string(own) == string(o.host) {
			return
		}
		mine, err1 := publicsuffix.EffectiveTLDPlusOne(name)
		theirs, err2 := publicsuffix.EffectiveTLDPlusOne(string(own))
		if err1 != nil || err2 != nil || mine != theirs || !strings.HasSuffix("."+name, "."+mine) {
			t.Fatalf("%q is of the same site as %q: %q and %q", value, own, mine, theirs)
		}
	})
}

// FuzzParse: an accepted pattern has a normal form that is read as the same pattern, and
// one that is an origin itself admits that origin.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"any", "same_site", "null", "https://*.example.com:8443", "a.example:*", "http://[::1]", "file://", "x://y", "", "*", "https://a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Parse(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if again, err := Parse(p.String()); err != nil || again != p {
			t.Fatalf("%q became %q, and that %q, %v", s, p, again, err)
		}
		var room Room
		if o, ok := Read([]byte(s), &room); ok && p.kind == listed && !p.Admits(&o, nil) {
			t.Fatalf("%q doesn't admit itself", s)
		}
	})
}

package clientcert

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

func patterns(t *testing.T, all ...string) (parsed []pattern.Text) {
	for _, s := range all {
		p, err := pattern.ParseText(s)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, p)
	}
	return parsed
}

func hosts(t *testing.T, all ...string) (parsed []pattern.Host) {
	for _, s := range all {
		h, err := pattern.ParseHost(s)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, h)
	}
	return parsed
}

func TestConditions(t *testing.T) {
	spiffe, err := url.Parse("spiffe://example.com/ws/1")
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		Raw: []byte("the certificate"), Subject: pkix.Name{CommonName: "ws-1"}, Issuer: pkix.Name{CommonName: "Devices", Organization: []string{"Acme, Inc."}},
		DNSNames: []string{"Ws-1.devices.example.com", "other.example.org."}, URIs: []*url.URL{spiffe},
	}
	print := Print(sha256.Sum256(cert.Raw))
	yes, no := true, false
	for _, c := range []struct {
		name                string
		condition           Condition
		matches, matchesNil bool
	}{
		{"nothing", Condition{}, true, true},
		{"verified", Condition{Verified: &yes}, true, false},
		{"not verified", Condition{Verified: &no}, false, true},
		{"cn", Condition{CommonNames: patterns(t, "other", "ws-*")}, true, false},
		{"another cn", Condition{CommonNames: patterns(t, "ws", "WS-1")}, false, false},
		{"dns", Condition{DNS: hosts(t, "*.devices.example.com")}, true, false},
		{"dns with a final dot", Condition{DNS: hosts(t, "other.example.org")}, true, false},
		{"another dns", Condition{DNS: hosts(t, "devices.example.com", "*.example.net")}, false, false},
		{"uri", Condition{URIs: patterns(t, "spiffe://example.com/ws/*")}, true, false},
		{"another uri", Condition{URIs: patterns(t, "spiffe://example.org/*")}, false, false},
		{"issuer", Condition{Issuers: patterns(t, `CN=Devices,O=Acme\, Inc.`)}, true, false},
		{"another issuer", Condition{Issuers: patterns(t, "CN=Devices")}, false, false},
		{"fingerprint", Condition{Fingerprints: []Print{{1}, print}}, true, false},
		{"another fingerprint", Condition{Fingerprints: []Print{{1}}}, false, false},
		{"all", Condition{Verified: &yes, CommonNames: patterns(t, "*"), DNS: hosts(t, "other.example.org"), URIs: patterns(t, "*"), Issuers: patterns(t, "*"), Fingerprints: []Print{print}}, true, false},
		{"all but one", Condition{Verified: &yes, CommonNames: patterns(t, "*"), DNS: hosts(t, "x.example.org"), URIs: patterns(t, "*")}, false, false},
	} {
		if got := c.condition.Matches(cert); got != c.matches {
			t.Errorf("%s: matches %t", c.name, got)
		}
		if got := c.condition.Matches(nil); got != c.matchesNil {
			t.Errorf("%s: without a certificate it matches %t", c.name, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		c := Condition{Fingerprints: []Print{print}}
		c.Matches(cert)
	}); n > 1 { // the list
		t.Errorf("%v allocations", n)
	}
}

func TestParsePrint(t *testing.T) {
	digits := strings.Repeat("0aF9", 16)
	var pairs []string
	for i := 0; i < len(digits); i += 2 {
		pairs = append(pairs, digits[i:i+2])
	}
	for _, s := range []string{digits, strings.Join(pairs, ":")} {
		p, err := ParsePrint(s)
		if err != nil || p.String() != strings.ToLower(digits) {
			t.Errorf("%q became %v, %v", s, p, err)
		}
	}
	for _, s := range []string{"", "0a", digits + "00", digits[1:] + "x", ":" + digits, strings.Join(pairs, "::"), strings.Join(pairs[1:], ":"), fmt.Sprint(pairs)} {
		if p, err := ParsePrint(s); err == nil {
			t.Errorf("%q became %v", s, p)
		}
	}
}

package hostport

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

func TestParseUnix(t *testing.T) {
	for _, parse := range []func(string) (Address, error){
		ParseBackend,
		func(s string) (Address, error) { return ParseListen(s, ":8080") },
		func(s string) (Address, error) { return ParseURL(s, ":8080") },
	} {
		for _, s := range []string{"unix:/run/chat.sock", "unix:/a", "unix:/" + strings.Repeat("a", 106), "unix:/é.sock"} {
			a, err := parse(s)
			if err != nil || a.String() != s || a.Path != s[5:] || a.Port != 0 || a.HostString() != "" {
				t.Errorf("%q: %+v, %v", s, a, err)
			}
			if e, ok := a.Endpoint(); !ok || !e.IsUnix() || e.String() != s {
				t.Errorf("%q leads to %v, %v", s, e, ok)
			}
		}
		for s, want := range map[string]string{
			"unix:/":                            "the name of the socket is missing",
			"unix://run/chat.sock":              "unix:/run/chat.sock",
			"unix:/run/../chat.sock":            `write "unix:/chat.sock"`,
			"unix:/run/":                        `write "unix:/run"`,
			"unix:/run/a b":                     "spaces or invisible",
			"unix:/run/\x00":                    "spaces or invisible",
			"unix:/" + strings.Repeat("a", 107): "at most 107 bytes",
			"unix:run/chat.sock":                "the port is",
		} {
			if a, err := parse(s); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %+v, %v, want an error with %q", s, a, err, want)
			}
		}
	}
	// A host may have that name.
	if a, err := ParseBackend("unix:3000"); err != nil || a.Host != "unix" || a.Path != "" {
		t.Errorf("%+v, %v", a, err)
	}
	for _, s := range []string{"unix:/run/chat.sock"} {
		if _, err := Parse(s); err == nil || !strings.Contains(err.Error(), "can't be used here") {
			t.Errorf("%q: %v", s, err)
		}
	}
	if HostOf("unix:/run/chat.sock") != "localhost" || HostOf("a:1") != "a" {
		t.Error("the host of a socket is wrong")
	}
}

func TestEndpoint(t *testing.T) {
	tcp, unix := At(netip.MustParseAddrPort("[::1]:80")), Endpoint{Path: "/run/a"}
	for _, tt := range []struct {
		e                      Endpoint
		text, network, address string
	}{
		{tcp, "[::1]:80", "tcp", "[::1]:80"},
		{unix, "unix:/run/a", "unix", "/run/a"},
	} {
		network, address := tt.e.DialArgs()
		text, err := json.Marshal(tt.e)
		if tt.e.String() != tt.text || network != tt.network || address != tt.address || string(text) != `"`+tt.text+`"` || err != nil {
			t.Errorf("%v: %s %s, %s, %v", tt.e, network, address, text, err)
		}
	}
	if _, ok := (Address{Host: "a", Port: 1}).Endpoint(); ok {
		t.Error("a name leads somewhere without a lookup")
	}
}

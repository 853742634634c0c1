package hostport

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseBackend(t *testing.T) {
	for in, want := range map[string]Address{
		"10.0.0.1:3000":          {IP: netip.MustParseAddr("10.0.0.1"), Port: 3000},
		"[::1]:80":               {IP: netip.MustParseAddr("::1"), Port: 80},
		"[fe80::1%eth0]:80":      {IP: netip.MustParseAddr("fe80::1%eth0"), Port: 80},
		"[::ffff:10.0.0.1]:3000": {IP: netip.MustParseAddr("10.0.0.1"), Port: 3000},
		"ws2.internal:3000":      {Host: "ws2.internal", Port: 3000},
		"chat_backend:65535":     {Host: "chat_backend", Port: 65535},
		"ws2.internal.:1":        {Host: "ws2.internal.", Port: 1},
	} {
		got, err := ParseBackend(in)
		if err != nil || got != want {
			t.Errorf("ParseBackend(%q) = %+v, %v, want %+v", in, got, err, want)
		}
	}
}

func TestParseBackendErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "want host:port",
		"10.0.0.1":                      "the port is missing",
		"::1":                           "[::1]:3000",
		"fe80::1:3000":                  "brackets",
		"10.0.0.1:":                     "the port is missing",
		"10.0.0.1:0":                    "a backend's port is 1 to 65535",
		"10.0.0.1:65536":                `port "65536"`,
		"10.0.0.1:http":                 `the port is a number, not "http"`,
		"10.0.0.1:-1":                   `the port is a number, not "-1"`,
		":3000":                         "the host is missing",
		"10.0.0.256:3000":               `"10.0.0.256" is not an IPv4 address`,
		"a..b:3000":                     `"a..b" is not a host name`,
		"ws1/path:3000":                 `"ws1/path" is not a host name`,
		"ws 1:3000":                     `"ws 1" is not a host name`,
		"http://ws1:3000":               "write just host:port",
		strings.Repeat("a", 254) + ":1": "is not a host name",
	} {
		_, err := ParseBackend(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseBackend(%q): %v, want an error with %q", in, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"unix:/run/a", "10.0.0.1:3000", "[::1]:80", "ws2.internal:3000", ":1", "a:b:c", "[::1%25]:2", "1.2.3:4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseBackend(s)
		if err != nil {
			return
		}
		if a.Path == "" && (a.Port == 0 || a.IP.IsValid() == (a.Host != "")) {
			t.Errorf("ParseBackend(%q) = %+v: want a port, and either a name or an IP", s, a)
		}
		if again, err := ParseBackend(a.String()); err != nil || again != a {
			t.Errorf("%q became %q, and that %v, %v", s, a, again, err)
		}
	})
}

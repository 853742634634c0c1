package pool

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]Address{
		"10.0.0.1:3000":          {IP: netip.MustParseAddr("10.0.0.1"), Port: 3000},
		"[::1]:80":               {IP: netip.MustParseAddr("::1"), Port: 80},
		"[fe80::1%eth0]:80":      {IP: netip.MustParseAddr("fe80::1%eth0"), Port: 80},
		"[::ffff:10.0.0.1]:3000": {IP: netip.MustParseAddr("10.0.0.1"), Port: 3000},
		"ws2.internal:3000":      {Host: "ws2.internal", Port: 3000},
		"chat_backend:65535":     {Host: "chat_backend", Port: 65535},
		"ws2.internal.:1":        {Host: "ws2.internal.", Port: 1},
	} {
		got, err := ParseAddress(in)
		if err != nil || got != want {
			t.Errorf("ParseAddress(%q) = %+v, %v, want %+v", in, got, err, want)
		}
	}
}

func TestParseAddressErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "want host:port",
		"10.0.0.1":                      "want host:port",
		"::1":                           "[::1]:3000",
		"fe80::1:3000":                  "brackets",
		"10.0.0.1:":                     `port ""`,
		"10.0.0.1:0":                    `port "0"`,
		"10.0.0.1:65536":                `port "65536"`,
		"10.0.0.1:http":                 `port "http"`,
		"10.0.0.1:-1":                   `port "-1"`,
		":3000":                         `host ""`,
		"10.0.0.256:3000":               `host "10.0.0.256"`,
		"a..b:3000":                     `host "a..b"`,
		"ws1/path:3000":                 `host "ws1/path"`,
		"ws 1:3000":                     `host "ws 1"`,
		"http://ws1:3000":               "want host:port",
		strings.Repeat("a", 254) + ":1": "neither",
	} {
		_, err := ParseAddress(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseAddress(%q): %v, want an error with %q", in, err, want)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"10.0.0.1:3000", "[::1]:80", "ws2.internal:3000", ":1", "a:b:c", "[::1%25]:2", "1.2.3:4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if a.Port == 0 || a.IP.IsValid() == (a.Host != "") {
			t.Errorf("ParseAddress(%q) = %+v: want a port, and either a name or an IP", s, a)
		}
	})
}

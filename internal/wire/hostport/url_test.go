package hostport

import (
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1:3000":           "10.0.0.1:3000",
		"wss://chat.internal":     "chat.internal:443",
		"HTTPS://Chat.internal/":  "chat.internal:443",
		"wss://chat.internal:8":   "chat.internal:8",
		"ws://10.0.0.1":           "10.0.0.1:80",
		"http://[::1]":            "[::1]:80",
		"https://[fe80::1%eth0]":  "[fe80::1%eth0]:443",
		"https://[2001:db8::1]:1": "[2001:db8::1]:1",
	} {
		a, err := ParseURL(in, "10.0.0.1:3000")
		if err != nil || a.String() != want {
			t.Errorf("ParseURL(%q) = %v, %v, want %v", in, a, err, want)
		}
	}
}

func TestParseURLErrors(t *testing.T) {
	for in, want := range map[string]string{
		"chat.internal":         "want host:port, such as 10.0.0.1:3000",
		"tcp://a:1":             "write host:port, or a URL with ws, wss, http or https",
		"://a:1":                `leave out "://"`,
		"wss://a:1/ws":          `leave out "/ws"`,
		"wss://a:1?x":           `leave out "?x"`,
		"wss://user:pass@a:1":   "leave out what is before the @",
		"wss://":                "the host is missing, write for example wss://chat.internal",
		"wss://:443":            "the host is missing",
		"wss://a:":              "the port is missing",
		"wss://a:x":             "the port is a number",
		"wss://::1":             "brackets",
		"wss://[::1":            "brackets",
		"wss://[::1]x":          "bad address",
		"wss://a b":             `" " is not allowed`,
		"wss://" + "10.0.0.256": "is not an IPv4 address",
	} {
		if a, err := ParseURL(in, "10.0.0.1:3000"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseURL(%q) = %v, %v, want an error with %q", in, a, err, want)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"10.0.0.1:3000", "wss://[::1]:80/", "https://a", "ws://a:b:c", "http://[::1%25]", "wss://a@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseURL(s, "10.0.0.1:3000")
		if err != nil {
			return
		}
		if again, err := Parse(a.String()); err != nil || again != a {
			t.Errorf("%q became %q, and that %v, %v", s, a, again, err)
		}
		if scheme := Scheme(s); scheme != "" && a.HostString() == "" {
			t.Errorf("%q has no host: %v", s, a)
		}
	})
}

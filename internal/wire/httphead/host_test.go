package httphead

import (
	"strings"
	"testing"
)

func TestHost(t *testing.T) {
	long := strings.Repeat("a.", 127) + "a" // 255 bytes
	tests := []struct {
		host, name, port string // name is "" for a host that is refused
	}{
		{"example.com", "example.com", ""},
		{"EXAMPLE.Com.:8080", "example.com", "8080"},
		{"my_service:80", "my_service", "80"},
		{"10.0.0.1:1", "10.0.0.1", "1"},
		{"[::1]", "[::1]", ""},
		{"[2001:DB8:0:0::1]:443", "[2001:db8::1]", "443"},
		{"[::ffff:10.0.0.1]:443", "[::ffff:10.0.0.1]", "443"},
		{"a:65535", "a", "65535"},
		{"a:", "a", ""},
		{"[::1]:", "[::1]", ""},
		{long + ":65535", long, "65535"},

		{"", "", ""},
		{":80", "", ""},
		{":", "", ""},
		{"a::", "", ""},
		{".", "", ""},
		{".a", "", ""},
		{"a..b", "", ""},
		{"a:65536", "", ""},
		{"a:000080", "", ""},
		{"a:+80", "", ""},
		{"a:80:80", "", ""},
		{"::1", "", ""},
		{"[::1", "", ""},
		{"[::1]x", "", ""},
		{"[::1%eth0]", "", ""},
		{"[10.0.0.1]", "", ""},
		{"[]", "", ""},
		{"[", "", ""},
		{"a b", "", ""},
		{"a/b", "", ""},
		{"u@a", "", ""},
		{"a%41", "", ""},
		{"a,b", "", ""},
		{`a"b`, "", ""},
		{"ä", "", ""},
		{long + "a", "", ""},
	}
	for _, tt := range tests {
		host := []byte(tt.host)
		if got := ValidHost(host); got != (tt.name != "") {
			t.Errorf("ValidHost(%q) = %t", tt.host, got)
		}
		if got := AppendHostname(nil, host); string(got) != tt.name {
			t.Errorf("AppendHostname(%q) = %q; want %q", tt.host, got, tt.name)
		}
		if got := Port(host); tt.name != "" && string(got) != tt.port {
			t.Errorf("Port(%q) = %q; want %q", tt.host, got, tt.port)
		}
	}
}

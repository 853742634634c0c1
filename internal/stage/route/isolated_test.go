package route

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

func TestIsolated(t *testing.T) {
	var hosts []pattern.Host
	for _, s := range []string{"*.example.com", "*.b.example.com", "a.example.com", "example.org"} {
		h, err := pattern.ParseHost(s)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	i := NewIsolated(hosts)
	for _, tt := range []struct {
		name, host string
		ok         bool
	}{
		{"example.org", "example.org", true},
		{"Example.ORG", "EXAMPLE.org.:8443", true},
		{"example.org", "a.example.com", false},
		{"example.org", "www.example.org", false},
		{"www.example.org", "example.org", false},
		{"a.example.com", "c.example.com", false}, // though the wildcard has both
		{"c.example.com", "a.example.com", false},
		{"c.example.com", "d.example.com:443", true},
		{"c.example.com", "x.b.example.com", false},
		{"x.b.example.com", "y.b.example.com", true},
		{"b.example.com", "c.example.com", true},
		{"other", "another", true},
		{"", "other", true},
		{"", "192.0.2.1", true},
		{"", "[2001:db8::1]:443", true},
		{"", "example.org", false},
		{"example.org", "", false},
	} {
		if err := i.Check([]byte(tt.host), tt.name); (err == nil) != tt.ok {
			t.Errorf("a request for %q on a connection for %q: %v", tt.host, tt.name, err)
		}
	}
	if err := NewIsolated(nil).Check([]byte("a"), "b"); err != nil {
		t.Error(err)
	}
}

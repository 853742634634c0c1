package route

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/clienthello"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

func TestMatchConnection(t *testing.T) {
	on := func(listener, name, protocol, pool string) Rule {
		c := Connection{Listener: listener, Protocol: protocol}
		if name != "" {
			var err error
			if c.ServerName, err = pattern.ParseHost(name); err != nil {
				t.Fatal(err)
			}
		}
		return Rule{Opaque: true, Connection: c, Pool: pool}
	}
	table := New([]Rule{
		{Pool: "requests"},
		on("", "*.example.com", "", "wildcard"),
		on("tcp", "", "", "tcp"),
		on("", "", "h2", "any name"),
		on("pass", "", "", "rest"),
	})
	for _, tt := range []struct{ listener, name, pool string }{
		{"pass", "a.example.com", "wildcard"},
		{"other", "A.b.EXAMPLE.com", "wildcard"},
		{"pass", "example.com", "rest"},
		{"pass", "", "rest"},
		{"tcp", "", "tcp"},
		{"other", "example.com", ""},
		{"other", "", ""},
		{"other", "a.example.com:443", ""},
	} {
		hello := clienthello.Hello{ServerName: []byte(tt.name)}
		rule, err := table.MatchConnection(tt.listener, netip.MustParseAddr("192.0.2.1"), &hello)
		switch {
		case tt.pool == "" && !errors.Is(err, ErrNoConnectionRoute):
			t.Errorf("%+v: %v, %v", tt, rule, err)
		case tt.pool != "" && (err != nil || rule.Pool != tt.pool):
			t.Errorf("%+v: %v, %v", tt, rule, err)
		}
	}
	if rule, err := table.Match("a.example.com", "/", true, nil); err != nil || rule.Pool != "requests" || rule.Index != 0 {
		t.Errorf("a request got %v, %v", rule, err)
	}
	if rule, _ := table.MatchConnection("pass", netip.Addr{}, &clienthello.Hello{}); rule.Index != 4 {
		t.Errorf("the last rule has the index %d", rule.Index)
	}
}

func networks(all ...string) (list []netip.Prefix) {
	for _, s := range all {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

func TestMatchConnectionByClient(t *testing.T) {
	table := New([]Rule{
		{Opaque: true, Connection: Connection{Client: networks("10.0.0.0/8")}},
		{Opaque: true},
	})
	for client, want := range map[string]int{"10.9.9.9": 0, "::ffff:10.0.0.1": 0, "11.0.0.1": 1, "2001:db8::1": 1} {
		if rule, err := table.MatchConnection("pass", netip.MustParseAddr(client), &clienthello.Hello{}); err != nil || rule.Index != want {
			t.Errorf("%s: %v, %v", client, rule, err)
		}
	}
}

package access

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
)

func fields(lines ...string) (f httphead.Fields) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		f = append(f, httphead.Field{Name: []byte(name), Value: []byte(value)})
	}
	return f
}

// code is that of err, and whether there is one.
func code(err error) (failure.Code, bool) {
	var f *failure.Error
	return failure.Of(err).Code, errors.As(err, &f)
}

func networks(t *testing.T, all ...string) (parsed []netip.Prefix) {
	for _, s := range all {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, p)
	}
	return parsed
}

func TestAddresses(t *testing.T) {
	in := func(all ...string) []netip.Prefix { return networks(t, all...) }
	for _, c := range []struct {
		a                 Addresses
		admitted, refused string
	}{
		{Addresses{}, "10.0.0.1 ::1 -", ""},
		{Addresses{Allow: in("10.0.0.0/8")}, "10.1.2.3 ::ffff:10.1.2.3", "11.0.0.1 ::1 ::ffff:11.0.0.1 -"},
		{Addresses{Deny: in("10.0.0.0/8")}, "11.0.0.1 ::1 -", "10.1.2.3 ::ffff:10.1.2.3"},
		{Addresses{Allow: in("10.0.0.0/8", "fd00::/8"), Deny: in("10.9.0.0/16", "fd00::1/128")}, "10.8.0.1 fd00::2", "10.9.0.1 fd00::1 fd00::1%eth0 192.0.2.1 -"},
		{Addresses{Allow: in("10.9.0.0/16"), Deny: in("10.0.0.0/8")}, "", "10.9.0.1 10.1.0.1 192.0.2.1"},
		{Addresses{Allow: in("0.0.0.0/0")}, "192.0.2.1", "::1"},
		{Addresses{Allow: []netip.Prefix{}}, "", "192.0.2.1"},
	} {
		check := func(s string) error {
			var a netip.Addr // an invalid one
			if s != "-" {
				a = netip.MustParseAddr(s)
			}
			return c.a.Check(a, "the route")
		}
		for _, s := range strings.Fields(c.admitted) {
			if err := check(s); err != nil {
				t.Errorf("%v: %s: %v", c.a, s, err)
			}
		}
		for _, s := range strings.Fields(c.refused) {
			if got, ok := code(check(s)); !ok || got != failure.AddressRefused || !strings.Contains(check(s).Error(), "the route") {
				t.Errorf("%v: %s: %v", c.a, s, check(s))
			}
		}
		if c.a.IsZero() != (c.refused == "") {
			t.Errorf("%v is zero %t", c.a, c.a.IsZero())
		}
	}
}

func TestOrigins(t *testing.T) {
	origins := func(required bool, patterns ...string) *Origins {
		o := &Origins{Required: required}
		for _, s := range patterns {
			p, err := origin.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			o.Allow = append(o.Allow, p)
		}
		return o
	}
	const host = "ws.example.com"
	same, other := "Origin: https://app.example.com", "oRIGIN: https://evil.example"
	for _, c := range []struct {
		name    string
		origins *Origins
		fields  httphead.Fields
		refused string // part of the reason; "" if it is admitted
	}{
		{"same site", nil, fields(same), ""},
		{"none", nil, fields("Host: x"), ""},
		{"another site", nil, fields(other), `the origin "https://evil.example" is of another site than the host "ws.example.com"`},
		{"null", nil, fields("Origin: null"), `"null"`},
		{"empty", nil, fields("Origin: "), `the Origin "" is malformed`},
		{"two", nil, fields(same, same), "several"},
		{"two, of any", origins(false, "any"), fields(same, other), "several"},
		{"escaped", nil, fields("Origin: https://a\x1b[31m\n"), `the Origin "https://a\x1b[31m\n" is malformed`},
		{"cut", nil, fields("Origin: https://" + strings.Repeat("a", 9000)), "…"},
		{"required", origins(true, "same_site"), fields("Host: x"), "requires one"},
		{"required, by a program", &Origins{Required: true}, fields("Host: x"), "requires one"},
		{"required and there", &Origins{Required: true}, fields(same), ""},
		{"required, any", origins(true, "any"), fields(other), ""},
		{"any", origins(false, "any"), fields(other), ""},
		{"any, malformed", origins(false, "any"), fields("Origin: https://a/b"), ""},
		{"a list", origins(false, "https://*.example"), fields(other), ""},
		{"a list without the same site", origins(false, "https://*.example"), fields(same), `"https://app.example.com" is not in origins`},
		{"a list with the same site", origins(false, "https://x.example", "same_site"), fields(same), ""},
		{"a list, malformed", origins(false, "https://*.example"), fields("Origin: https://evil.example/"), "malformed"},
		{"an empty list of a program", &Origins{Allow: []origin.Pattern{}}, fields(same), "not in origins"},
	} {
		err := c.origins.Check(c.fields, []byte(host))
		if c.refused == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if got, ok := code(err); !ok || got != failure.OriginRefused || !strings.Contains(err.Error(), c.refused) || len(err.Error()) > 500 {
			t.Errorf("%s: %v, want %q", c.name, err, c.refused)
		}
	}
	list, same0 := origins(false, "https://x.example", "https://app.example.com"), fields(same)
	if n := testing.AllocsPerRun(100, func() {
		if list.Check(same0, []byte(host)) != nil || (*Origins)(nil).Check(same0, []byte("app.example.com")) != nil {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSubprotocols(t *testing.T) {
	spoken := []string{"chat.v1", "chat.v2"}
	for _, c := range []struct {
		spoken  []string
		fields  httphead.Fields
		refused string
	}{
		{nil, fields(), ""},
		{nil, fields("Sec-WebSocket-Protocol: x"), ""},
		{spoken, fields("Sec-WebSocket-Protocol: chat.v2"), ""},
		{spoken, fields("Sec-WebSocket-Protocol: x,chat.v1 , y"), ""},
		{spoken, fields("Sec-WebSocket-Protocol: x", "sec-websocket-protocol: chat.v1"), ""},
		{spoken, fields(), "offers no subprotocol"},
		{spoken, fields("Sec-WebSocket-Protocol: "), "which are chat.v1, chat.v2"},
		{spoken, fields("Sec-WebSocket-Protocol: CHAT.V1, chat.v"), "which are chat.v1, chat.v2"},
		{spoken, fields("Sec-WebSocket-Protocol: bearer, eyJh.secret"), "which are chat.v1, chat.v2"},
		{spoken, fields(`Sec-WebSocket-Protocol: "a, chat.v1"`), "offers none"},
	} {
		err := CheckSubprotocols(c.fields, c.spoken)
		got, ok := code(err)
		if c.refused == "" && err != nil || c.refused != "" && (!ok || got != failure.SubprotocolRefused || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%q of %q: %v, want %q", c.fields, c.spoken, err, c.refused)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%v shows the offer, which may have a token in it", err)
		}
	}
}

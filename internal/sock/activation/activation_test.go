package activation

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// given makes Sockets of "name=address".
func given(all ...string) *Sockets {
	s := &Sockets{}
	for _, one := range all {
		name, address, _ := strings.Cut(one, "=")
		ip, _ := netip.ParseAddrPort(address)
		s.add(nil, name, address, ip)
	}
	return s
}

func TestAssign(t *testing.T) {
	for _, c := range []struct {
		name    string
		sockets *Sockets
		wants   string // "name=address ..."
		given   string // an address for each, "-" is none
		unused  []string
	}{
		{"none", nil, "a=:80", "-", nil},
		{"by address", given("x.socket=127.0.0.1:80"), "a=127.0.0.1:80 b=127.0.0.1:81", "127.0.0.1:80 -", nil},
		{"by name", given("a=127.0.0.1:80"), "b=:80 a=:443", "- 127.0.0.1:80", nil},
		{"the address comes before the name", given("a=127.0.0.1:80", "b=127.0.0.1:81"), "a=127.0.0.1:81 b=127.0.0.1:80", "127.0.0.1:81 127.0.0.1:80", nil},
		{"all networks", given("x.socket=[::]:80"), "a=:80", "[::]:80", nil},
		{"all networks, with IPv4", given("x.socket=[::]:80"), "a=0.0.0.0:80", "[::]:80", nil},
		{"both kinds of all networks", given("x.socket=0.0.0.0:80", "x.socket=[::]:80"), "a=[::]:80 b=0.0.0.0:80", "[::]:80 0.0.0.0:80", nil},
		{"one network is not all", given("x.socket=127.0.0.1:80"), "a=:80", "-", []string{"127.0.0.1:80 (x.socket)"}},
		{"all are not one", given("x.socket=[::]:80"), "a=127.0.0.1:80", "-", []string{"[::]:80 (x.socket)"}},
		{"a unix socket", given("x.socket=unix:/run/a"), "a=unix:/run/b b=unix:/run/a", "- unix:/run/a", nil},
		{"a host name has no socket by address", given("x.socket=127.0.0.1:80"), "a=localhost:80", "-", []string{"127.0.0.1:80 (x.socket)"}},
		{"each is used once", given("a=127.0.0.1:80"), "a=:1 a=:2", "127.0.0.1:80 -", nil},
		{"two of a name", given("a=127.0.0.1:80", "a=127.0.0.1:81"), "a=127.0.0.1:81", "127.0.0.1:81", []string{"127.0.0.1:80 (a)"}},
		{"without a name", given("=127.0.0.1:80"), "a=:80", "-", []string{"127.0.0.1:80 (unknown)"}},
	} {
		var wants []Want
		for word := range strings.FieldsSeq(c.wants) {
			name, address, _ := strings.Cut(word, "=")
			wants = append(wants, Want{name, address})
		}
		all, unused := c.sockets.Assign(wants)
		var got []string
		for _, g := range all {
			if g == nil {
				got = append(got, "-")
			} else {
				got = append(got, g.Address)
			}
		}
		if s := strings.Join(got, " "); s != c.given || !slices.Equal(unused, c.unused) {
			t.Errorf("%s: %s, unused %q; want %s, unused %q", c.name, s, unused, c.given, c.unused)
		}
		// A reload asks again, and must get the same.
		again, _ := c.sockets.Assign(wants)
		if fmt.Sprint(all) != fmt.Sprint(again) {
			t.Errorf("%s: the second time it is %v", c.name, again)
		}
	}
}

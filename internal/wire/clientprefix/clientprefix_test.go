package clientprefix

import (
	"net/netip"
	"testing"
)

func TestOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1":              "192.0.2.1",
		"::ffff:192.0.2.1":       "192.0.2.1",
		"2001:db8:1:2:3:4:5:6":   "2001:db8:1:2::",
		"2001:db8:1:2::":         "2001:db8:1:2::",
		"fe80::1:2%eth0":         "fe80::",
		"2001:db8:1:3:3:4:5:6%1": "2001:db8:1:3::",
	} {
		if got := Of(netip.MustParseAddr(address)); got != netip.MustParseAddr(want) {
			t.Errorf("%s counts as %s, want %s", address, got, want)
		}
	}
	if Of(netip.Addr{}).IsValid() {
		t.Error("no address counts as one")
	}
}

func TestNumber(t *testing.T) {
	seen := map[uint64]netip.Addr{}
	for _, address := range []string{"192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "2001:db8:1:2:3::", "2001:db8:1:2::", "2001:db8:1:3::%eth0", "::1", "::2:0:0:0:0"} {
		a := netip.MustParseAddr(address)
		n, of := Number(a), Of(a)
		if before, ok := seen[n]; ok && before != of {
			t.Errorf("%s and %s have the same number", before, of)
		}
		seen[n] = of
		if Number(of) != n {
			t.Errorf("%s has another number than %s", address, of)
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d numbers, want 6: %v", len(seen), seen)
	}
}

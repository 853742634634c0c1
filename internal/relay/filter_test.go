package relay

import (
	"net/netip"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

func TestFilter(t *testing.T) {
	id, other := session.NewID(), session.NewID()
	began := time.Unix(1000, 0)
	newest := record{id: id, backend: 3, route: 4, port: 51000, started: began.UnixNano(), lastProgress: 100}
	newest.ip = netip.MustParseAddr("192.0.2.7").As16()
	six := newest
	six.ip = netip.MustParseAddr("2001:db8::7").As16()
	now := 100 + eventloop.Ticks(time.Minute)
	tests := []struct {
		name string
		of   Filter
		r    record
		want bool
	}{
		{"all", Filter{}, newest, true},
		{"backend", Filter{Backends: map[uint32]bool{3: true}}, newest, true},
		{"other backend", Filter{Backends: map[uint32]bool{4: true}}, newest, false},
		{"no backend", Filter{Backends: map[uint32]bool{}}, newest, false},
		{"route", Filter{Routes: map[uint32]bool{4: true}}, newest, true},
		{"other route", Filter{Routes: map[uint32]bool{3: true}}, newest, false},
		{"id", Filter{IDs: map[session.ID]bool{id: true}}, newest, true},
		{"other id", Filter{IDs: map[session.ID]bool{other: true}}, newest, false},
		{"network", Filter{Clients: netip.MustParsePrefix("192.0.2.0/24")}, newest, true},
		{"address", Filter{Clients: netip.MustParsePrefix("192.0.2.7/32")}, newest, true},
		{"other address", Filter{Clients: netip.MustParsePrefix("192.0.2.8/32")}, newest, false},
		{"IPv6", Filter{Clients: netip.MustParsePrefix("2001:db8::/32")}, six, true},
		{"IPv6 of IPv4", Filter{Clients: netip.MustParsePrefix("::/0")}, newest, false},
		{"IPv4 of IPv6", Filter{Clients: netip.MustParsePrefix("0.0.0.0/0")}, six, false},
		{"port", Filter{Port: 51000}, newest, true},
		{"other port", Filter{Port: 51001}, newest, false},
		{"began after", Filter{After: began.Add(-1)}, newest, true},
		{"did not begin after", Filter{After: began}, newest, false},
		{"began by", Filter{UpTo: began}, newest, true},
		{"did not begin by", Filter{UpTo: began.Add(-1)}, newest, false},
		{"idle", Filter{Idle: time.Minute}, newest, true},
		{"not idle", Filter{Idle: time.Minute + time.Second}, newest, false},
		{"all at once", Filter{Backends: map[uint32]bool{3: true}, Routes: map[uint32]bool{4: true}, IDs: map[session.ID]bool{id: true},
			Clients: netip.MustParsePrefix("192.0.2.7/32"), Port: 51000, UpTo: began, Idle: time.Second}, newest, true},
		{"all but one", Filter{Backends: map[uint32]bool{3: true}, Routes: map[uint32]bool{4: true}, IDs: map[session.ID]bool{other: true}}, newest, false},
	}
	for _, test := range tests {
		if got := test.of.includes(&test.r, now); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	if !(*Filter)(nil).includes(&newest, now) {
		t.Error("nil doesn't include all")
	}
	if d := newest.idleFor(99); d != 0 {
		t.Errorf("before its last message it was idle for %v", d)
	}
}

package discovery

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

func TestParseSRV(t *testing.T) {
	const n = "ws.internal. "
	for _, c := range []struct {
		name    string
		records []string
		want    []string
		ttl     int
		err     string
	}{
		{"sorted, lower case, no final dot", []string{n + "30 IN SRV 0 0 3000 B.Internal.", n + "20 IN SRV 0 0 3000 a.internal."},
			[]string{"a.internal:3000", "b.internal:3000"}, 20, ""},
		{"the lowest priority only", []string{n + "30 IN SRV 2 9 3000 c.", n + "30 IN SRV 1 1 3000 a.", n + "30 IN SRV 1 2 3000 b.", n + "30 IN SRV 3 9 3000 d."},
			[]string{"a:3000", "b:3000 2"}, 30, ""},
		{"small weights as they are", []string{n + "30 IN SRV 0 0 1 a.", n + "30 IN SRV 0 10 1 b.", n + "30 IN SRV 0 256 1 c."},
			[]string{"a:1", "b:1 10", "c:1 256"}, 30, ""},
		{"large weights in relation", []string{n + "30 IN SRV 0 0 1 a.", n + "30 IN SRV 0 100 1 b.", n + "30 IN SRV 0 1000 1 c.", n + "30 IN SRV 0 500 1 d."},
			[]string{"a:1", "b:1 26", "c:1 256", "d:1 128"}, 30, ""},
		{"the heaviest", []string{n + "30 IN SRV 0 65535 1 a.", n + "30 IN SRV 0 1 1 b."}, []string{"a:1 256", "b:1"}, 30, ""},
		{"a heavy one of another priority doesn't count", []string{n + "30 IN SRV 1 60000 1 a.", n + "30 IN SRV 0 3 1 b."}, []string{"b:1 3"}, 30, ""},
		{"two ports of a host", []string{n + "30 IN SRV 0 0 2 a.", n + "30 IN SRV 0 0 1 a."}, []string{"a:1", "a:2"}, 30, ""},
		{"the same twice", []string{n + "30 IN SRV 0 3 1 a.", n + "30 IN SRV 0 5 1 A."}, []string{"a:1 5"}, 30, ""},
		{"useless ones beside a good one", []string{n + "30 IN SRV 0 0 0 a.", n + "30 IN SRV 0 0 1 .", n + `30 IN SRV 0 0 1 b\032c.`, n + "30 IN SRV 5 0 1 d."},
			[]string{"d:1"}, 30, ""},
		{"useless ones alone", []string{n + "30 IN SRV 0 0 0 a."}, nil, 0, `ws.internal. has no useful SRV record: target "a.": bad address "a:0": a target's port is 1 to 65535`},
		{"aliases", []string{"x. 5 IN CNAME y.", n + "30 IN CNAME X.", "y. 9 IN SRV 0 0 1 a.", "z. 1 IN SRV 0 0 1 b."}, []string{"a:1"}, 5, ""},
		{"aliases in a circle", []string{n + "30 IN CNAME x.", "x. 30 IN CNAME ws.internal."}, nil, 0, "ws.internal. has no SRV records"},
		{"another's records", []string{"evil. 30 IN SRV 0 0 1 a."}, nil, 0, "ws.internal. has no SRV records"},
		{"another type", []string{n + "30 IN A 10.0.0.1"}, nil, 0, "ws.internal. has no SRV records"},
		{"another class", []string{n + "30 CH SRV 0 0 1 a."}, nil, 0, "ws.internal. has no SRV records"},
		{"a TTL with the highest bit", []string{n + "4294967295 IN SRV 0 0 1 a."}, []string{"a:1"}, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := new(dns.Msg).SetQuestion("WS.internal.", dns.TypeSRV)
			m, _ := records(c.records...)("", "", q)
			m.Question[0].Name = "ws.internal."
			a, err := parseReply(m, 0)
			if got := short(a.members); !slices.Equal(got, c.want) || err == nil && a.ttl != time.Duration(c.ttl)*time.Second {
				t.Errorf("got %q, TTL %v; want %q, %ds", got, a.ttl, c.want, c.ttl)
			}
			if err == nil && c.err != "" || err != nil && err.Error() != c.err {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

// Scaling keeps the order, and the proportions as exactly as whole numbers allow.
func TestScale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		heaviest := rapid.IntRange(0, 65535).Draw(t, "heaviest")
		a := rapid.IntRange(0, heaviest).Draw(t, "a")
		b := rapid.IntRange(a, heaviest).Draw(t, "b")
		sa, sb, top := scale(a, heaviest), scale(b, heaviest), scale(heaviest, heaviest)
		if sa < 1 || sa > sb || sb > top || top > maxWeight {
			t.Fatalf("%d and %d of %d became %d and %d of %d", a, b, heaviest, sa, sb, top)
		}
		if heaviest > maxWeight && a > heaviest/maxWeight {
			if off := sa*heaviest - a*maxWeight; off > heaviest/2+1 || -off > heaviest/2+1 {
				t.Fatalf("%d of %d became %d of %d", a, heaviest, sa, top)
			}
		}
	})
}

// Whatever a server sends, the result is valid members or an error.
func FuzzAnswer(f *testing.F) {
	for _, text := range [][]string{
		{"ws.internal. 30 IN SRV 0 0 3000 a.", "ws.internal. 30 IN SRV 1 5 3000 b."},
		{"ws.internal. 30 IN SRV 0 0 0 ."},
		{"ws.internal. 30 IN CNAME x.", "x. 30 IN A 10.0.0.1", "x. 1 IN A 0.0.0.0"},
		{"ws.internal. 30 IN AAAA 2001:db8::1", "ws.internal. 30 IN AAAA ::ffff:10.0.0.1"},
	} {
		for _, t := range []uint16{dns.TypeSRV, dns.TypeA, dns.TypeAAAA} {
			m, _ := with(records(text...), "b. 9 IN A 10.0.0.1", "b. 9 IN A 10.0.0.2")("", "", new(dns.Msg).SetQuestion("ws.internal.", t))
			wire, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(wire, t)
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte, qtype uint16) {
		m := new(dns.Msg)
		q := new(dns.Msg).SetQuestion("ws.internal.", qtype)
		if m.Unpack(wire) != nil || check(q, m) != nil {
			return
		}
		a, err := parseReply(m, 3000)
		if (err == nil) != (len(a.members) > 0) {
			t.Fatalf("%d members and error %v", len(a.members), err)
		}
		checkMembers(t, a.members)
		if err == nil && qtype == dns.TypeSRV {
			nobody := &fakeDNS{}
			d := newDNSWatch(&feed{watcher: &Watcher{}, source: source{dns: DNS{Type: SRV}}}, environment{exchange: nobody.exchange, routed: everywhere})
			before := len(a.members)
			var lost []unresolvedHost
			a, lost, err = d.resolveHosts(t.Context(), []string{"10.0.0.2:53"}, a)
			if (err == nil) != (len(a.members) > 0) || len(lost) > before {
				t.Fatalf("%d members of %d, %d lost and error %v", len(a.members), before, len(lost), err)
			}
			checkMembers(t, a.members)
			for _, m := range a.members {
				if _, err := netip.ParseAddrPort(m.Address); err != nil {
					t.Fatal(err)
				}
			}
		}
		if a.ttl < 0 || a.ttl > 1<<31*time.Second {
			t.Fatalf("TTL %v", a.ttl)
		}
	})
}

// checkMembers checks what Members guarantees.
func checkMembers(t *testing.T, members []Member) {
	t.Helper()
	if !slices.IsSortedFunc(members, byName) {
		t.Fatalf("not sorted: %v", members)
	}
	names, addresses := map[string]bool{}, map[string]bool{}
	for _, m := range members {
		if names[m.Name] || addresses[m.Address] {
			t.Fatalf("%v twice in %v", m, members)
		}
		names[m.Name], addresses[m.Address] = true, true
		if _, err := hostport.ParseBackend(m.Address); err != nil {
			t.Fatalf("address %q: %v", m.Address, err)
		}
		if m.Name == "" || m.Weight < 1 || m.Weight > maxWeight || m.MaxSessions < 0 {
			t.Fatalf("bad member %+v", m)
		}
	}
}

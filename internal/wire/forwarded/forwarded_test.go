package forwarded

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// policy also sends Forwarded, so that tests see it.
var policy = &Policy{Forwarded: true, Trust: trust}

var trust = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("2001:db8:aaaa::/48"),
}

// parse parses "Name: value" lines.
func parse(lines ...string) (f httphead.Fields) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		f = append(f, httphead.Field{Name: []byte(name), Value: []byte(value)})
	}
	return f
}

func hop(peer, host string) Hop {
	return Hop{
		Peer:  netip.MustParseAddrPort(peer),
		Local: netip.MustParseAddrPort("192.0.2.1:8080"),
		Host:  []byte(host),
		Proto: "http",
	}
}

var headerTests = []struct {
	name string
	in   []string
	hop  Hop
	want []string
}{
	{
		"nothing came", nil, hop("203.0.113.9:1234", "Ws.example.com"),
		[]string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http", "X-Forwarded-Host: Ws.example.com", "X-Forwarded-Port: 8080",
			"Forwarded: for=203.0.113.9;host=Ws.example.com;proto=http"},
	},
	{
		"on a unix socket, which has no port", nil, Hop{Peer: hostport.UnixPeer, Local: hostport.UnixPeer, Host: []byte("a"), Proto: "http"},
		[]string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: a", "X-Forwarded-Port: 80",
			"Forwarded: for=127.0.0.1;host=a;proto=http"},
	},
	{
		"untrusted peer",
		[]string{"X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1", "X-Forwarded-User: root",
			"X-Real-IP: 1.1.1.1", "Forwarded: for=1.1.1.1"},
		hop("203.0.113.9:1234", "a:8080"),
		[]string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http", "X-Forwarded-Host: a:8080", "X-Forwarded-Port: 8080",
			`Forwarded: for=203.0.113.9;host="a:8080";proto=http`},
	},
	{
		"untrusted IPv6 peer with a zone", nil, hop("[fe80::1%eth0]:1234", "[::1]:8080"),
		[]string{"X-Forwarded-For: fe80::1", "X-Forwarded-Proto: http", "X-Forwarded-Host: [::1]:8080", "X-Forwarded-Port: 8080",
			`Forwarded: for="[fe80::1]";host="[::1]:8080";proto=http`},
	},
	{
		"a host that is none is left out", nil, hop("203.0.113.9:1234", "a\"\r\nX: y"),
		[]string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http", "X-Forwarded-Port: 8080", "Forwarded: for=203.0.113.9;proto=http"},
	},
	{
		"trusted peer, IPv4-mapped, everything there",
		[]string{"X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.example:444", "X-Forwarded-Port: 443",
			"X-Real-IP: 198.51.100.7", "X-Forwarded-Server: edge", `Forwarded: For="198.51.100.7:99"; proto=https; by=_edge`},
		hop("[::ffff:10.0.0.5]:1234", "inner"),
		[]string{"X-Forwarded-For: 198.51.100.7, 10.0.0.5", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.example:444", "X-Forwarded-Port: 443",
			`Forwarded: For="198.51.100.7:99"; proto=https; by=_edge, for=10.0.0.5;host=inner;proto=http`,
			"X-Real-IP: 198.51.100.7", "X-Forwarded-Server: edge"},
	},
	{
		"trusted peer, only X-Forwarded-For and -Proto, as nginx has it",
		[]string{"X-Forwarded-For: 2001:db8::7, 10.1.1.1", "X-Forwarded-For: 10.1.1.2", "X-Forwarded-Proto: https"},
		hop("10.0.0.5:1234", "a.example"),
		[]string{"X-Forwarded-For: 2001:db8::7, 10.1.1.1, 10.1.1.2, 10.0.0.5", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.example", "X-Forwarded-Port: 443",
			`Forwarded: for="[2001:db8::7]";proto=https, for=10.1.1.1, for=10.1.1.2, for=10.0.0.5;host=a.example;proto=http`},
	},
	{
		"trusted peer, only Forwarded",
		[]string{`Forwarded: for=unknown;host="a.example:444";proto=wss, for="[2001:db8::7]:99";x="a, b;\""`},
		hop("10.0.0.5:1234", "inner"),
		[]string{"X-Forwarded-For: unknown, 2001:db8::7, 10.0.0.5", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.example:444", "X-Forwarded-Port: 444",
			`Forwarded: for=unknown;host="a.example:444";proto=wss, for="[2001:db8::7]:99";x="a, b;\"", for=10.0.0.5;host=inner;proto=http`},
	},
	{
		"trusted peer that let a client's Forwarded through",
		[]string{"X-Forwarded-For: 198.51.100.7", "Forwarded: for=127.0.0.1;proto=https;host=evil"},
		hop("10.0.0.5:1234", "inner"),
		[]string{"X-Forwarded-For: 198.51.100.7, 10.0.0.5", "X-Forwarded-Proto: http", "X-Forwarded-Host: inner", "X-Forwarded-Port: 8080",
			"Forwarded: for=198.51.100.7, for=10.0.0.5;host=inner;proto=http"},
	},
	{
		"trusted peer, malformed values",
		[]string{"X-Forwarded-For: 1.1.1.1, <script>, \"x, 198.51.100.7", "X-Forwarded-Proto: gopher", "X-Forwarded-Host: a/b", "X-Forwarded-Port: 0",
			"X-Real-IP: nobody", `Forwarded: for=1.2.3.4;for=5.6.7.8`, `Forwarded: for="198.51.100.7`},
		hop("10.0.0.5:1234", "inner"),
		[]string{"X-Forwarded-For: 198.51.100.7, 10.0.0.5", "X-Forwarded-Proto: http", "X-Forwarded-Host: inner", "X-Forwarded-Port: 8080",
			"Forwarded: for=198.51.100.7, for=10.0.0.5;host=inner;proto=http"},
	},
	{
		"trusted peer, malformed members of Forwarded alone",
		[]string{`Forwarded: for=1.1.1.1;host=evil, for=1.1.1.2;for=1.1.1.3, for=198.51.100.7`}, hop("10.0.0.5:1234", "inner"),
		[]string{"X-Forwarded-For: 198.51.100.7, 10.0.0.5", "X-Forwarded-Proto: http", "X-Forwarded-Host: inner", "X-Forwarded-Port: 8080",
			"Forwarded: for=198.51.100.7, for=10.0.0.5;host=inner;proto=http"},
	},
	{
		"trusted peer, Forwarded ends malformed",
		[]string{`Forwarded: for=1.1.1.1;host=evil;proto=https, bogus`}, hop("10.0.0.5:1234", "inner"),
		[]string{"X-Forwarded-For: 10.0.0.5", "X-Forwarded-Proto: http", "X-Forwarded-Host: inner", "X-Forwarded-Port: 8080",
			"Forwarded: for=10.0.0.5;host=inner;proto=http"},
	},
	{
		"trusted peer, values given twice",
		[]string{"X-Forwarded-Proto: https", "X-Forwarded-Proto: https", "X-Forwarded-Host: a, b", "X-Forwarded-Port: 1", "X-Forwarded-Port: 1",
			"X-Real-IP: 1.1.1.1", "X-Real-IP: 1.1.1.2"},
		hop("10.0.0.5:1234", "inner"),
		[]string{"X-Forwarded-For: 10.0.0.5", "X-Forwarded-Proto: https", "X-Forwarded-Host: a", "X-Forwarded-Port: 1", "Forwarded: for=10.0.0.5;host=inner;proto=http"},
	},
	{
		"trusted peer, lists, of which the first value counts",
		[]string{"X-Forwarded-Proto: https, http", "X-Forwarded-Host: a.example:, b:1", "X-Forwarded-Host: c", "X-Forwarded-Port: ,443 , 80"},
		hop("10.0.0.5:1234", "inner:8443"),
		[]string{"X-Forwarded-For: 10.0.0.5", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.example", "X-Forwarded-Port: 443", `Forwarded: for=10.0.0.5;host="inner:8443";proto=http`},
	},
	{
		"trusted peer, a first value that is none",
		[]string{"X-Forwarded-Proto: gopher, https", "X-Forwarded-Host: a/b, b", "X-Forwarded-Port: x, 80"},
		hop("10.0.0.5:1234", "inner:8443"),
		[]string{"X-Forwarded-For: 10.0.0.5", "X-Forwarded-Proto: http", "X-Forwarded-Host: inner:8443", "X-Forwarded-Port: 8443", `Forwarded: for=10.0.0.5;host="inner:8443";proto=http`},
	},
	{
		"trusted peer, fields given twice",
		[]string{"X-Forwarded-Proto: https", "X-Forwarded-Proto: http"}, hop("10.0.0.5:1234", "inner:8443"),
		[]string{"X-Forwarded-For: 10.0.0.5", "X-Forwarded-Proto: https", "X-Forwarded-Host: inner:8443", "X-Forwarded-Port: 8443", `Forwarded: for=10.0.0.5;host="inner:8443";proto=http`},
	},
	{
		"a port in Host", nil, hop("203.0.113.9:1234", "a:8443"),
		[]string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http", "X-Forwarded-Host: a:8443", "X-Forwarded-Port: 8443", `Forwarded: for=203.0.113.9;host="a:8443";proto=http`},
	},
	{
		"an empty port in Host", nil, hop("203.0.113.9:1234", "a:"),
		[]string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http", "X-Forwarded-Host: a", "X-Forwarded-Port: 8080", "Forwarded: for=203.0.113.9;host=a;proto=http"},
	},
	{
		"untrusted peer, names that servers take for ours",
		[]string{"X_Forwarded_For: 1.1.1.1", "X-Forwarded_For: 1.1.1.1", "X_Real_IP: 1.1.1.1", "X_Forwarded_Proto: https"},
		hop("203.0.113.9:1234", "a"),
		[]string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http", "X-Forwarded-Host: a", "X-Forwarded-Port: 8080", "Forwarded: for=203.0.113.9;host=a;proto=http"},
	},
	{
		"trusted peer, likewise",
		[]string{"X_Forwarded_For: 1.1.1.1", "X-Forwarded-User_Name: root", "X_Real_IP: 1.1.1.1", "X-Forwarded_Proto: https", "X-Forwarded-User: me"},
		hop("10.0.0.5:1234", "a"),
		[]string{"X-Forwarded-For: 10.0.0.5", "X-Forwarded-Proto: http", "X-Forwarded-Host: a", "X-Forwarded-Port: 8080", "Forwarded: for=10.0.0.5;host=a;proto=http",
			"X-Forwarded-User: me"},
	},
	{
		"trusted peer, only a host came",
		[]string{"X-Forwarded-Host: a.example"}, hop("[2001:db8:aaaa::1]:1", "inner"),
		[]string{"X-Forwarded-For: 2001:db8:aaaa::1", "X-Forwarded-Proto: http", "X-Forwarded-Host: a.example", "X-Forwarded-Port: 80",
			`Forwarded: for="[2001:db8:aaaa::1]";host=inner;proto=http`},
	},
}

func TestAppendHeaders(t *testing.T) {
	for _, tt := range headerTests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(policy.AppendHeaders([]byte("before\r\n"), parse(tt.in...), tt.hop))
			if want := "before\r\n" + strings.Join(tt.want, "\r\n") + "\r\n"; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestPolicy: each kind of field can be switched on or off.
func TestPolicy(t *testing.T) {
	in := []string{"X-Forwarded-For: 198.51.100.7", "Forwarded: for=198.51.100.7", "X-Real-IP: 10.0.0.9", "X-Forwarded-User: me"}
	const x = "X-Forwarded-For: 198.51.100.7, 10.0.0.5\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 8080\r\n"
	const f = "Forwarded: for=198.51.100.7, for=10.0.0.5;host=a;proto=http\r\n"
	const r, theirs, others = "X-Real-IP: 198.51.100.7\r\n", "X-Real-IP: 10.0.0.9\r\n", "X-Forwarded-User: me\r\n"
	for _, tt := range []struct {
		policy    Policy
		want      string
		untrusted string // kinds of what an untrusted client makes for
	}{
		{Policy{}, x + theirs + others, "x"},
		{Policy{Forwarded: true}, x + f + theirs + others, "xf"},
		{Policy{XRealIP: true}, x + r + others, "xr"},
		{Policy{NoXForwarded: true}, theirs, ""},
		{Policy{NoXForwarded: true, Forwarded: true, XRealIP: true}, f + r, "fr"},
	} {
		p := tt.policy
		p.Trust = trust
		if got := string(p.AppendHeaders(nil, parse(in...), hop("10.0.0.5:1234", "a"))); got != tt.want {
			t.Errorf("%+v: got\n%s\nwant\n%s", tt.policy, got, tt.want)
		}
		kinds := ""
		for line := range strings.SplitSeq(strings.TrimSuffix(string(p.AppendHeaders(nil, parse(in...), hop("203.0.113.9:1", "a"))), "\r\n"), "\r\n") {
			switch {
			case line == "X-Forwarded-For: 203.0.113.9":
				kinds += "x"
			case line == "Forwarded: for=203.0.113.9;host=a;proto=http":
				kinds += "f"
			case line == "X-Real-IP: 203.0.113.9":
				kinds += "r"
			case line != "" && !strings.HasPrefix(line, "X-Forwarded-"):
				t.Errorf("%+v: %s", tt.policy, line)
			}
		}
		if kinds != tt.untrusted {
			t.Errorf("%+v: of an untrusted client, got %q; want %q", tt.policy, kinds, tt.untrusted)
		}
	}
}

func TestSetHeaders(t *testing.T) {
	header := func(lines []string) http.Header {
		h := http.Header{}
		for _, field := range parse(lines...) {
			h.Add(string(field.Name), string(field.Value))
		}
		return h
	}
	for _, tt := range headerTests {
		t.Run(tt.name, func(t *testing.T) {
			h := header(tt.in)
			h.Set("Cookie", "a=b")
			policy.SetHeaders(h, h, tt.hop)
			want := header(append(tt.want, "Cookie: a=b"))
			for name := range want {
				if got, want := strings.Join(h[name], "|"), strings.Join(want[name], "|"); got != want {
					t.Errorf("%s: got %s; want %s", name, got, want)
				}
			}
			if len(h) != len(want) {
				t.Errorf("got %d fields, want %d: %v", len(h), len(want), h)
			}
		})
	}
}

func TestClientAddr(t *testing.T) {
	tests := []struct {
		name, peer string
		in         []string
		want       string
	}{
		{"untrusted peer", "203.0.113.9:1234", []string{"X-Forwarded-For: 1.1.1.1"}, "203.0.113.9:1234"},
		{"untrusted mapped peer", "[::ffff:203.0.113.9]:1234", nil, "203.0.113.9:1234"},
		{"trusted peer that says nothing", "10.0.0.1:1234", nil, "10.0.0.1:1234"},
		{"trusted peer", "10.0.0.1:1234", []string{"X-Forwarded-For: 198.51.100.7"}, "198.51.100.7:0"},
		{"with a port", "10.0.0.1:1234", []string{"X-Forwarded-For: 198.51.100.7:99"}, "198.51.100.7:99"},
		{"IPv6 with a port", "10.0.0.1:1234", []string{"X-Forwarded-For: [2001:db8::1]:99"}, "[2001:db8::1]:99"},
		{"mapped", "10.0.0.1:1234", []string{"X-Forwarded-For: ::ffff:198.51.100.7"}, "198.51.100.7:0"},
		{"spoofed before the proxy's own", "10.0.0.1:1234", []string{"X-Forwarded-For: 1.1.1.1, 198.51.100.7"}, "198.51.100.7:0"},
		{"through trusted hops", "10.0.0.1:1234", []string{"X-Forwarded-For: 1.1.1.1, 198.51.100.7, 10.0.0.2", "X-Forwarded-For: 2001:db8:aaaa::1"}, "198.51.100.7:0"},
		{"all trusted", "10.0.0.1:1234", []string{"X-Forwarded-For: 10.0.0.3, 10.0.0.2"}, "10.0.0.3:0"},
		{"unknown", "10.0.0.1:1234", []string{"X-Forwarded-For: 1.1.1.1, unknown, 10.0.0.2"}, "10.0.0.2:0"},
		{"malformed left of it", "10.0.0.1:1234", []string{"X-Forwarded-For: ;--, 198.51.100.7"}, "198.51.100.7:0"},
		{"malformed", "10.0.0.1:1234", []string{"X-Forwarded-For: 1.1.1.1, 198.51.100.7%"}, "10.0.0.1:1234"},
		{"zone", "10.0.0.1:1234", []string{"X-Forwarded-For: fe80::1%x"}, "10.0.0.1:1234"},
		{"Forwarded", "10.0.0.1:1234", []string{`Forwarded: for=1.1.1.1, for="[2001:db8::1]:99";proto=http`}, "[2001:db8::1]:99"},
		{"X-Forwarded-For wins", "10.0.0.1:1234", []string{"X-Forwarded-For: 198.51.100.7", `Forwarded: for=1.1.1.1`}, "198.51.100.7:0"},
		{"a broken X-Forwarded-For is not made up for by Forwarded", "10.0.0.1:1234", []string{"X-Forwarded-For: x", `Forwarded: for=1.1.1.1`}, "10.0.0.1:1234"},
		{"more hops than are kept", "10.0.0.1:1234", []string{"X-Forwarded-For: 1.1.1.1" + strings.Repeat(", 10.0.0.2", 40)}, "10.0.0.2:0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			peer, want := netip.MustParseAddrPort(tt.peer), netip.MustParseAddrPort(tt.want)
			if got := policy.ClientAddr(parse(tt.in...), peer); got != want {
				t.Errorf("ClientAddr = %v; want %v", got, want)
			}
			h := http.Header{}
			for _, field := range parse(tt.in...) {
				h.Add(string(field.Name), string(field.Value))
			}
			if got := policy.ClientAddrOf(h, peer); got != want {
				t.Errorf("ClientAddrOf = %v; want %v", got, want)
			}
		})
	}
}

func TestOwns(t *testing.T) {
	for name, want := range map[string]bool{
		"x-forwarded-for": true, "X-FORWARDED-Anything": true, "Forwarded": true, "x-real-ip": true,
		"X_Forwarded_For": true, "x-forwarded_proto": true, "X_Real_IP": true, "X_Real-IP": true, "X.Forwarded.For": true,
		"X-Forwarded": false, "XForwarded-For": false, "Forward": false, "Host": false, "": false,
	} {
		if got := IsReserved([]byte(name)); got != want {
			t.Errorf("Owns(%q) = %t", name, got)
		}
	}
}

func BenchmarkAppendHeaders(b *testing.B) {
	for _, bench := range []struct {
		name string
		in   httphead.Fields
		hop  Hop
	}{
		{"untrusted", parse("Accept: */*", "Cookie: a=b"), hop("203.0.113.9:1234", "ws.example.com:8080")},
		{"trusted", parse("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https"), hop("10.0.0.5:1234", "ws.example.com:8080")},
	} {
		b.Run(bench.name, func(b *testing.B) {
			dst := make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				dst = policy.AppendHeaders(dst[:0], bench.in, bench.hop)
			}
		})
	}
}

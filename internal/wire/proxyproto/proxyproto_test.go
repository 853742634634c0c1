package proxyproto_test

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

const signature = "\r\n\r\n\x00\r\nQUIT\n"

// v2 makes a header of version 2 with these parts after its length.
func v2(command, kind byte, rest ...string) string {
	all := strings.Join(rest, "")
	b := binary.BigEndian.AppendUint16([]byte{command, kind}, uint16(len(all)))
	return signature + string(b) + all
}

func field(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// withChecksum appends the right checksum to a header.
func withChecksum(header string) string {
	b := []byte(header + field(3, "\x00\x00\x00\x00"))
	binary.BigEndian.PutUint16(b[14:], uint16(len(b)-16))
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

const (
	ipv4 = "\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb"                   // 192.0.2.1:1234, 198.51.100.2:443
	ipv6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + // 2001:db8::1
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc6\x33\x64\x02" + // ::ffff:198.51.100.2
		"\x04\xd2\x01\xbb"
)

func addr(s string) netip.AddrPort {
	if s == "" {
		return netip.AddrPort{}
	}
	return netip.MustParseAddrPort(s)
}

func TestParse(t *testing.T) {
	unix := strings.Repeat("a", 216)
	for _, tt := range []struct {
		name, header string
		from, to     string
		local        bool
		version      proxyproto.Version
	}{
		{"IPv4", "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n", "192.0.2.1:1234", "198.51.100.2:443", false, 1},
		{"the longest", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
			"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", false, 1},
		{"mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::1 0 1\r\n", "192.0.2.1:0", "[::1]:1", false, 1},
		{"mixed, as nginx writes it", "PROXY TCP6 192.0.2.1 ::1 0 1\r\n", "192.0.2.1:0", "[::1]:1", false, 1},
		{"unknown", "PROXY UNKNOWN\r\n", "", "", false, 1},
		{"unknown with more", "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "", "", false, 1},
		{"v2 IPv4", v2(0x21, 0x11, ipv4), "192.0.2.1:1234", "198.51.100.2:443", false, 2},
		{"v2 IPv6", v2(0x21, 0x21, ipv6), "[2001:db8::1]:1234", "198.51.100.2:443", false, 2},
		{"v2 unix", v2(0x21, 0x31, unix), "", "", false, 2},
		{"v2 unspecified", v2(0x21, 0x00), "", "", false, 2},
		{"v2 unspecified stream", v2(0x21, 0x01, field(5, "an id")), "", "", false, 2},
		{"v2 local", v2(0x20, 0x00), "", "", true, 2},
		{"v2 local with addresses", v2(0x20, 0x11, ipv4), "", "", true, 2},
		{"v2 local with anything", v2(0x20, 0xff, "anything"), "", "", true, 2},
		{"v2 unknown fields", v2(0x21, 0x11, ipv4, field(4, ""), field(0xe0, "x"), field(0x30, "ns")), "192.0.2.1:1234", "198.51.100.2:443", false, 2},
		{"v2 checksum", withChecksum(v2(0x21, 0x11, ipv4, field(1, "h2"))), "192.0.2.1:1234", "198.51.100.2:443", false, 2},
		{"v2 large", v2(0x21, 0x11, ipv4, field(0xe0, strings.Repeat("x", proxyproto.MaxSize-16-12-3))), "192.0.2.1:1234", "198.51.100.2:443", false, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h proxyproto.Header
			for i := range len(tt.header) { // cut at every byte
				if n, err := proxyproto.Parse([]byte(tt.header[:i]), &h); n != 0 || err != nil {
					t.Fatalf("%q: size %d, %v", tt.header[:i], n, err)
				}
			}
			if !proxyproto.Looks([]byte(tt.header[:6])) || proxyproto.Looks([]byte(tt.header[:5])) {
				t.Error("it doesn't look like one, or too early")
			}
			n, err := proxyproto.Parse([]byte(tt.header+"GET /"), &h)
			if n != len(tt.header) || err != nil {
				t.Fatalf("size %d of %d, %v", n, len(tt.header), err)
			}
			if h.Source != addr(tt.from) || h.Destination != addr(tt.to) || h.Local != tt.local || h.Version != tt.version || h.TLS {
				t.Errorf("%+v", h)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ name, header, want string }{
		{"HTTP", "GET", "doesn't begin with"},
		{"like it", "POST / HTTP/1.1\r\n", "doesn't begin with"},
		{"lower case", "proxy TCP4", "doesn't begin with"},
		{"no space", "PROXYTCP4", "doesn't begin with"},
		{"TLS", "\x16\x03\x01", "doesn't begin with"},
		{"almost v2", "\r\n\r\n\x00\r\nQUIX", "doesn't begin with"},
		{"no end", "PROXY UNKNOWN " + strings.Repeat("x", 93), "too long"},
		{"bare LF", "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\n", "CR LF"},
		{"nothing", "PROXY \r\n", "neither TCP4"},
		{"two spaces", "PROXY  TCP4 192.0.2.1 198.51.100.2 1234 443\r\n", "neither TCP4"},
		{"tab", "PROXY TCP4\t192.0.2.1 198.51.100.2 1234 443\r\n", "neither TCP4"},
		{"UDP", "PROXY UDP4 192.0.2.1 198.51.100.2 1234 443\r\n", "neither TCP4"},
		{"another space", "PROXY TCP4 192.0.2.1  198.51.100.2 1234 443\r\n", "something after"},
		{"space at the end", "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443 \r\n", "something after"},
		{"missing port", "PROXY TCP4 192.0.2.1 198.51.100.2 1234\r\n", "missing"},
		{"IPv6 for TCP4", "PROXY TCP4 ::1 198.51.100.2 1234 443\r\n", "not an address of TCP4"},
		{"zone", "PROXY TCP6 fe80::1%eth0 ::1 1234 443\r\n", "not an address"},
		{"leading zero", "PROXY TCP4 192.0.2.01 198.51.100.2 1234 443\r\n", "not an address"},
		{"a name", "PROXY TCP4 localhost\x1b 198.51.100.2 1234 443\r\n", `"localhost\x1b" is not an address`},
		{"port 65536", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", "not a port"},
		{"port 01", "PROXY TCP4 192.0.2.1 198.51.100.2 1 01\r\n", "not a port"},
		{"port +1", "PROXY TCP4 192.0.2.1 198.51.100.2 +1 1\r\n", "not a port"},
		{"no port", "PROXY TCP4 192.0.2.1 198.51.100.2  1\r\n", "not a port"},
		{"v2 of version 1", v2(0x11, 0x11, ipv4), "neither the version 2"},
		{"v2 command", v2(0x22, 0x11, ipv4), "neither the version 2"},
		{"v2 too long", v2(0x21, 0x11, ipv4, strings.Repeat("x", proxyproto.MaxSize)), "too long"},
		{"v2 local too long", v2(0x20, 0, strings.Repeat("x", proxyproto.MaxSize)), "too long"},
		{"v2 family", v2(0x21, 0x41, ipv4), "unknown family"},
		{"v2 datagram", v2(0x21, 0x12, ipv4), "not a stream"},
		{"v2 unspecified transport", v2(0x21, 0x10, ipv4), "not a stream"},
		{"v2 unspecified datagram", v2(0x21, 0x02), "not a stream"},
		{"v2 short", v2(0x21, 0x11, ipv4[:11]), "too short"},
		{"v2 IPv6 short", v2(0x21, 0x21, ipv4), "too short"},
		{"v2 unix short", v2(0x21, 0x31, ipv4), "too short"},
		{"v2 cut field", v2(0x21, 0x11, ipv4, "\x01\x00"), "cut off"},
		{"v2 long field", v2(0x21, 0x11, ipv4, "\x01\x00\x03h2"), "cut off"},
		{"v2 checksum", v2(0x21, 0x11, ipv4, field(3, "\x00\x00\x00\x00")), "checksum is wrong"},
		{"v2 checksum before", v2(0x21, 0x11, ipv4, field(3, "\x01\x00\x00\x00"), field(1, "h2")), "checksum is wrong"},
		{"v2 short checksum", v2(0x21, 0x11, ipv4, field(3, "\x00")), "checksum of another length"},
		{"v2 short TLS", v2(0x21, 0x11, ipv4, field(0x20, "\x01\x00\x00\x00")), "TLS is too short"},
		{"v2 cut TLS", v2(0x21, 0x11, ipv4, field(0x20, "\x01\x00\x00\x00\x00\x21\x00\x09TLS")), "TLS is cut off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h proxyproto.Header
			n, err := proxyproto.Parse([]byte(tt.header), &h)
			if n != 0 && err == nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("size %d, %v, want an error with %q", n, err, tt.want)
			}
		})
	}
}

func TestParseTLS(t *testing.T) {
	ssl := func(flags, verify string) string {
		return field(0x20, flags+"\x00\x00\x00"+verify+field(0x21, "TLSv1.3")+field(0x22, "me")+field(0x23, "TLS_AES_128_GCM_SHA256")+field(0x2f, "x"))
	}
	names := field(1, "h2") + field(2, "a.example") + field(2, "b.example")
	for _, tt := range []struct {
		name, ssl string
		tls       bool
		common    string
	}{
		{"a certificate", ssl("\x07", "\x00"), true, "me"},
		{"that is not verified", ssl("\x07", "\x01"), true, ""},
		{"none", ssl("\x01", "\x00"), true, ""},
		{"no TLS", ssl("\x00", "\x00"), false, ""},
		{"nothing said", "", false, ""},
		{"twice", ssl("\x01", "\x00") + field(0x20, "\x00\x00\x00\x00\x00"), true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h proxyproto.Header
			header := withChecksum(v2(0x21, 0x11, ipv4, names, tt.ssl))
			if n, err := proxyproto.Parse([]byte(header), &h); n != len(header) || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
			version := ""
			if tt.tls {
				version = "TLSv1.3"
			}
			if h.TLS != tt.tls || string(h.CommonName) != tt.common || string(h.TLSVersion) != version || string(h.ServerName) != "a.example" || string(h.Protocol) != "h2" {
				t.Errorf("%+v", h)
			}
		})
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	header := []byte(withChecksum(v2(0x21, 0x11, ipv4, field(1, "h2"), field(0x20, "\x01\x00\x00\x00\x01"+field(0x21, "TLSv1.3")))))
	var h proxyproto.Header
	if n := testing.AllocsPerRun(100, func() { proxyproto.Parse(header, &h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

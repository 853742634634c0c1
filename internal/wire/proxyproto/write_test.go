package proxyproto_test

import (
	"bufio"
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"

	goproxyproto "github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

func TestAppend(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		v1       string
	}{
		{"192.0.2.1:1234", "198.51.100.2:443", "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n"},
		{"[2001:db8::1]:1234", "[::1]:443", "PROXY TCP6 2001:db8::1 ::1 1234 443\r\n"},
		{"192.0.2.1:1234", "[::1]:443", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1234 443\r\n"},
		{"[::1]:1234", "192.0.2.1:443", "PROXY TCP6 ::1 ::ffff:192.0.2.1 1234 443\r\n"},
		{"[::ffff:192.0.2.1]:1234", "198.51.100.2:443", "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n"},
		{"[fe80::1%eth0]:1", "[fe80::2%eth0]:2", "PROXY TCP6 fe80::1 fe80::2 1 2\r\n"},
		{"192.0.2.1:0", "", "PROXY TCP4 192.0.2.1 0.0.0.0 0 0\r\n"},
		{"[::1]:1", "", "PROXY TCP6 ::1 :: 1 0\r\n"},
		{"", "198.51.100.2:443", "PROXY UNKNOWN\r\n"},
		{"", "", "PROXY UNKNOWN\r\n"},
	} {
		c := proxyproto.Client{Source: addr(tt.from), Destination: addr(tt.to)}
		if got := string(proxyproto.Append(nil, proxyproto.V1, &c)); got != tt.v1 {
			t.Errorf("from %q to %q: %q, want %q", tt.from, tt.to, got, tt.v1)
		}
		var one, two proxyproto.Header
		proxyproto.Parse([]byte(tt.v1), &one)
		b := proxyproto.Append([]byte("x"), proxyproto.V2, &c)[1:]
		if n, err := proxyproto.Parse(b, &two); n != len(b) || err != nil || two.Source != one.Source || two.Destination != one.Destination {
			t.Errorf("from %q to %q: %+v by version 1, %+v by version 2, %v", tt.from, tt.to, one, two, err)
		}
	}
	if b := proxyproto.Append(nil, proxyproto.Off, &proxyproto.Client{Source: addr("192.0.2.1:1")}); len(b) > 0 {
		t.Errorf("off: %q", b)
	}
}

func TestAppendLocal(t *testing.T) {
	for v, want := range map[proxyproto.Version]string{
		proxyproto.Off: "", proxyproto.V1: "PROXY UNKNOWN\r\n", proxyproto.V2: signature + "\x20\x00\x00\x00",
	} {
		if got := proxyproto.AppendLocal(nil, v); string(got) != want {
			t.Errorf("version %d: %q, want %q", v, got, want)
		}
	}
}

// TestAppendLongNames: a header stays one that Parse accepts.
func TestAppendLongNames(t *testing.T) {
	long := strings.Repeat("x", 1000)
	c := proxyproto.Client{Source: addr("[::1]:1"), TLS: &proxyproto.TLS{Version: long, Cipher: long, ServerName: long, Protocol: long, Certificate: true, CommonName: long}}
	b := proxyproto.Append(nil, proxyproto.V2, &c)
	var h proxyproto.Header
	if n, err := proxyproto.Parse(b, &h); n != len(b) || err != nil || string(h.ServerName) != long[:255] || string(h.CommonName) != long[:255] {
		t.Errorf("%d of %d, %v", n, len(b), err)
	}
}

// TestAgainstAnother: another implementation reads what we write, and we read what it
// writes.
func TestAgainstAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := func(name string) netip.AddrPort {
			b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name)
			if rapid.Bool().Draw(t, name+" is IPv4") {
				b = b[:4]
			}
			ip, _ := netip.AddrFromSlice(b)
			return netip.AddrPortFrom(ip.Unmap(), rapid.Uint16().Draw(t, name+" port"))
		}
		text := rapid.StringMatching(`[a-z]{0,40}`)
		c := proxyproto.Client{Source: address("source"), Destination: address("destination")}
		if rapid.Bool().Draw(t, "tls") {
			c.TLS = &proxyproto.TLS{Version: "TLSv1.3", Cipher: text.Draw(t, "cipher"), ServerName: text.Draw(t, "name"), Protocol: text.Draw(t, "protocol")}
			if c.TLS.Certificate = rapid.Bool().Draw(t, "certificate"); c.TLS.Certificate {
				c.TLS.CommonName = text.Draw(t, "common name")
			}
		}
		for _, v := range []proxyproto.Version{proxyproto.V1, proxyproto.V2} {
			ours := proxyproto.Append(nil, v, &c)
			theirs, err := goproxyproto.Read(bufio.NewReader(bytes.NewReader(ours)))
			if err != nil {
				t.Fatalf("%q: %v", ours, err)
			}
			for _, pair := range []struct {
				theirs net.Addr
				ours   netip.AddrPort
			}{{theirs.SourceAddr, c.Source}, {theirs.DestinationAddr, c.Destination}} {
				a := pair.theirs.(*net.TCPAddr).AddrPort()
				if got := netip.AddrPortFrom(a.Addr().Unmap(), a.Port()); got != pair.ours {
					t.Errorf("%q: they read %v, want %v", ours, got, pair.ours)
				}
			}
			if v == proxyproto.V2 {
				compareTLS(t, theirs, c.TLS)
			}
			again, err := theirs.Format()
			if err != nil {
				t.Fatal(err)
			}
			var h proxyproto.Header
			if n, err := proxyproto.Parse(again, &h); n != len(again) || err != nil || h.Source != c.Source || h.Destination != c.Destination || h.Version != v {
				t.Errorf("%q: %d of %d, %v, %+v", again, n, len(again), err, h)
			}
		}
	})
}

func compareTLS(t *rapid.T, theirs *goproxyproto.Header, ours *proxyproto.TLS) {
	fields, err := theirs.TLVs()
	if err != nil {
		t.Fatal(err)
	}
	ssl, found := tlvparse.FindSSL(fields)
	if found != (ours != nil) {
		t.Fatalf("TLS: %v", found)
	}
	if !found {
		return
	}
	version, _ := ssl.SSLVersion()
	name, _ := ssl.ClientCN()
	if !ssl.ClientSSL() || version != ours.Version || ssl.Verified() != ours.Certificate || name != ours.CommonName {
		t.Errorf("%+v, want %+v", ssl, ours)
	}
	for _, f := range fields {
		switch f.Type {
		case goproxyproto.PP2_TYPE_AUTHORITY:
			if string(f.Value) != ours.ServerName {
				t.Errorf("the name is %q, want %q", f.Value, ours.ServerName)
			}
		case goproxyproto.PP2_TYPE_ALPN:
			if string(f.Value) != ours.Protocol {
				t.Errorf("the protocol is %q, want %q", f.Value, ours.Protocol)
			}
		}
	}
}

package proxyproto_test

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

// FuzzParse: it never fails for a beginning of what it accepts, and what it has read can
// be written and read again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n", "PROXY TCP6 ::1 2001:db8::1 1 2\r\nGET /", "PROXY UNKNOWN x\r\n", "GET / HTTP/1.1\r\n",
		v2(0x21, 0x11, ipv4), v2(0x21, 0x21, ipv6, field(1, "h2")), v2(0x20, 0), v2(0x21, 0x31),
		withChecksum(v2(0x21, 0x11, ipv4, field(0x20, "\x07\x00\x00\x00\x00"+field(0x21, "TLSv1.3")+field(0x22, "me")))),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h, again proxyproto.Header
		n, err := proxyproto.Parse(b, &h)
		if n < 0 || n > len(b) || n > proxyproto.MaxSize {
			t.Fatalf("size %d of %d", n, len(b))
		}
		if err != nil {
			return
		}
		// Only some cuts, since a long input has many.
		for i := 0; i < len(b); i += 1 + len(b)/64 {
			if m, err := proxyproto.Parse(b[:i], &again); err != nil || m != 0 && m != n {
				t.Fatalf("cut at %d: %d, %v; whole: %d", i, m, err, n)
			}
		}
		if n == 0 || h.Local || !h.Source.IsValid() {
			return
		}
		out := proxyproto.Append(nil, h.Version, &proxyproto.Client{Source: h.Source, Destination: h.Destination})
		if m, err := proxyproto.Parse(out, &again); m != len(out) || err != nil || again.Source != h.Source || again.Destination != h.Destination {
			t.Fatalf("%q became %q: %d, %v", b[:n], out, m, err)
		}
	})
}

package forwarded

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// FuzzAppendHeaders is about a trusted peer: whatever it sends, the result is a
// well-formed block of our fields, each once, that names the peer, and that this package
// reads back with the same meaning.
func FuzzAppendHeaders(f *testing.F) {
	f.Add("198.51.100.7, [2001:db8::1]:99", "for=198.51.100.7;proto=https;host=a", "https", "a.example:1", "443")
	f.Add("unknown, ::ffff:1.2.3.4,,", `For="[2001:db8::1]:80"; by=_x;ext="a,\"b", for=unknown`, "WSS", "[::1]", "080")
	f.Add("1.1.1.1, \"x, 2.2.2.2", `for="x, for=1.1.1.1`, "", "a\"b", "-1")
	f.Add("1.1.1.1", "for=1.1.1.1;host=\"a\\\"\"", "http", "", "")
	f.Fuzz(func(t *testing.T, xff, fwd, proto, host, port string) {
		var in httphead.Fields
		for _, field := range parse("X-Forwarded-For: "+xff, "Forwarded: "+fwd, "X-Forwarded-Proto: "+proto, "X-Forwarded-Host: "+host, "X-Forwarded-Port: "+port) {
			if len(field.Value) > 0 {
				in = append(in, field)
			}
		}
		// Only what a parsed head can contain; the parser trims, too.
		head := []byte("GET / HTTP/1.1\r\nHost: a\r\n")
		for _, field := range in {
			head = append(append(append(append(head, field.Name...), ": "...), field.Value...), "\r\n"...)
		}
		var req httphead.Request
		if _, err := req.Parse(append(head, "\r\n"...)); err != nil {
			return
		}
		h := hop("10.0.0.5:1234", "inner:80")
		lines := policy.AppendHeaders(nil, req.Fields, h)

		var out httphead.Request
		if n, err := out.Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\n" + string(lines) + "\r\n")); n == 0 || err != nil {
			t.Fatalf("the result is not a head: %v\n%s", err, lines)
		}
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded"} {
			if out.Fields.Count(name) != 1 {
				t.Errorf("%s is not there once:\n%s", name, lines)
			}
		}
		if value, _ := out.Fields.Get("x-forwarded-for"); !strings.HasSuffix(", "+string(value), ", 10.0.0.5") {
			t.Errorf("X-Forwarded-For does not end with the peer: %s", value)
		}
		if value, _ := out.Fields.Get("x-forwarded-proto"); string(value) != "http" && string(value) != "https" {
			t.Errorf("X-Forwarded-Proto: %s", value)
		}
		if value, _ := out.Fields.Get("x-forwarded-host"); !httphead.ValidHost(value) {
			t.Errorf("X-Forwarded-Host: %s", value)
		}
		if value, _ := out.Fields.Get("forwarded"); !bytes.HasSuffix(value, []byte(`for=10.0.0.5;host="inner:80";proto=http`)) {
			t.Errorf("Forwarded does not end with the peer: %s", value)
		}
		var c chain
		c.read(out.Fields)
		if c.nodes()[0].text == nil {
			t.Errorf("the two lists do not tell of the same hops:\n%s", lines)
		}
		before := policy.ClientAddr(req.Fields, h.Peer).Addr()
		after := policy.ClientAddr(out.Fields, netip.MustParseAddrPort("10.0.0.6:1")).Addr()
		if before != after && c.n < maxHops {
			t.Errorf("the client was %v and is %v for the next proxy:\n%s", before, after, lines)
		}
	})
}

package attempt

import (
	"bufio"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// A client is the same one to both ways of reading requests, or its page and
// its socket would come from different backends.
func TestBothRequestsReadAlike(t *testing.T) {
	policy := &forwarded.Policy{Trust: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	words := []string{"client_ip", "path", "header:X-Room", "header:Host", "query:room", "cookie:sid", "cookie:none"}
	for _, c := range []struct{ name, peer, head string }{
		{"plain and simple", "198.51.100.7:1", "GET /ws HTTP/1.1\r\nHost: example.com\r\n"},
		{"all of it", "192.0.2.1:1", "GET /a%20b/%C3%A9?x=1&room=l%C3%A4rm&room=2 HTTP/1.1\r\nHost: Example.com:80\r\n" +
			"X-Room:  7 \r\nX-Room: 8\r\nCookie: a=b; sid=s1; sid=s2\r\nX-Forwarded-For: 203.0.113.1, 203.0.113.2\r\n"},
		{"nobody vouches", "198.51.100.7:1", "GET /ws?room= HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 203.0.113.1\r\nForwarded: for=203.0.113.2\r\n"},
		{"over IPv6", "[2001:db8::1]:1", "GET /ws?? HTTP/1.1\r\nHost: example.com\r\nX-Room:\r\n"},
		{"mapped", "[::ffff:192.0.2.1]:1", "GET /? HTTP/1.1\r\nHost: example.com\r\nForwarded: for=\"[2001:db8::2]:4\"\r\n"},
		{"a URL for a target", "192.0.2.1:1", "GET http://example.com/ws?room=1 HTTP/1.1\r\nHost: example.com\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			head := c.head + "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
			from := netip.MustParseAddrPort(c.peer)
			raw := new(Request)
			raw.Reset(transport.Meta{Peer: from})
			if _, err := raw.Parse([]byte(head), &generation.Generation{Forwarded: policy}); err != nil {
				t.Fatal(err)
			}
			if err := raw.Check(); err != nil {
				t.Fatal(err)
			}
			hr, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
			if err != nil {
				t.Fatal(err)
			}
			hr.RemoteAddr = c.peer
			target := hr.RequestURI
			if target[0] != '/' {
				target = hr.URL.RequestURI()
			}
			plain := generation.PlainRequest{Request: hr, Forwarded: policy, Target: target, Meta: transport.Meta{Peer: from}}
			if raw.ClientIP() != plain.ClientIP() || string(raw.Path()) != string(plain.Path()) || string(raw.Query()) != string(plain.Query()) {
				t.Errorf("%v %q %q by one, %v %q %q by the other",
					raw.ClientIP(), raw.Path(), raw.Query(), plain.ClientIP(), plain.Path(), plain.Query())
			}
			for _, word := range words {
				part, err := requestkey.Parse(word)
				if err != nil {
					t.Fatal(err)
				}
				one, oneOK := requestkey.Hash([]requestkey.Part{part}, raw)
				other, otherOK := requestkey.Hash([]requestkey.Part{part}, plain)
				if one != other || oneOK != otherOK {
					t.Errorf("%s: %x, %v by one, %x, %v by the other", word, one, oneOK, other, otherOK)
				}
			}
		})
	}
}

package handshake

import (
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// TestSubprotocols: backends are told only of those that are spoken, in the client's
// order, and may choose no other.
func TestSubprotocols(t *testing.T) {
	for _, c := range []struct {
		spoken []string
		offer  string // fields
		told   string // value; "" if the field isn't there
		may    string
		mayNot string
	}{
		{nil, "Sec-WebSocket-Protocol: b, a", "b, a", "a b", "c"},
		{[]string{"a", "b"}, "Sec-WebSocket-Protocol: c, b,a", "b, a", "a b", "c d"},
		{[]string{"a", "b"}, "Sec-WebSocket-Protocol: c\r\nSec-WebSocket-Protocol: b\r\nsec-websocket-protocol: a, d", "b, a", "a b", "c d"},
		{[]string{"a"}, `Sec-WebSocket-Protocol: "x, a", a`, "a", "a", "x"},
		{[]string{"a"}, "Sec-WebSocket-Protocol: b", "", "", "a b"},
		{[]string{"a"}, "X: y", "", "", "a"},
	} {
		req := parseRequest(t, strings.Replace(plainUpgrade, "X: y", c.offer, 1))
		var up Upgrade
		if err := Check(req, &up); err != nil {
			t.Fatal(err)
		}
		up.Subprotocols = c.spoken
		var told httphead.Request
		head := AppendRequest(nil, req, &up, &About{Forwarded: new(forwarded.Policy), Hop: clientHop(req)})
		if n, err := told.Parse(head); n != len(head) {
			t.Fatalf("%q: %v", head, err)
		}
		value, there := told.Fields.Get("sec-websocket-protocol")
		if string(value) != c.told || there != (c.told != "") || told.Fields.Count("sec-websocket-protocol") > 1 {
			t.Errorf("%q of %q: the backend is told %q", c.offer, c.spoken, head)
		}
		answer := func(name string) error {
			accept := up.accept()
			var resp httphead.Response
			head := "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + string(accept[:]) + "\r\nSec-WebSocket-Protocol: " + name + "\r\n\r\n"
			if n, err := resp.Parse([]byte(head)); n != len(head) {
				t.Fatal(err)
			}
			return CheckResponse(&resp, &up)
		}
		for _, name := range strings.Fields(c.may) {
			if err := answer(name); err != nil {
				t.Errorf("%q of %q: the backend chooses %q: %v", c.offer, c.spoken, name, err)
			}
		}
		for _, name := range strings.Fields(c.mayNot) {
			if err := answer(name); err == nil {
				t.Errorf("%q of %q: the backend may choose %q", c.offer, c.spoken, name)
			}
		}
	}
}

const plainUpgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: y\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

package attempt

import (
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/session/claims"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
)

// TestClaims: a claim of a verified token can be in a field, whatever its issuer has
// written, and is never what the client says.
func TestClaims(t *testing.T) {
	edits, err := headeredit.New(headeredit.Spec{Set: [][2]string{{"X-User", "${claim.sub}"}}})
	if err != nil {
		t.Fatal(err)
	}
	g := &generation.Generation{Forwarded: new(forwarded.Policy)}
	r := new(Request)
	for sub, want := range map[string]string{"alice": "\r\nX-User: alice\r\n", "a\r\nX-Admin: 1": "\r\nX-User: a  X-Admin: 1\r\n", "": ""} {
		r.Reset(transport.Meta{})
		const head = "GET / HTTP/1.1\r\nHost: a\r\nX-User: root\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
		if _, err := r.Parse([]byte(head), g); err != nil {
			t.Fatal(err)
		}
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		if sub != "" {
			r.Claims = claims.Claims(claims.Append(nil, "sub", sub))
		}
		if err := r.Follow(&generation.Forward{Request: edits}, "all"); err != nil {
			t.Fatal(err)
		}
		got := string(r.AppendRequest(nil, g))
		if strings.Contains(got, "root") || strings.Contains(got, "X-User") != (want != "") || !strings.Contains(got, want) {
			t.Errorf("with the claim %q the backend gets\n%s", sub, got)
		}
	}
}

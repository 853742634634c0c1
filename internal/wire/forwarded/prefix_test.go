package forwarded

import (
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
)

// TestPrefix: a prefix that was cut off comes after the one that a trusted proxy has cut
// off before.
func TestPrefix(t *testing.T) {
	for _, tt := range []struct {
		name, peer, prefix string
		policy             *Policy
		came               []string
		want               string
	}{
		{"none", "203.0.113.9:1", "", policy, nil, ""},
		{"ours", "203.0.113.9:1", "/api", policy, nil, "/api"},
		{"after a stranger's", "203.0.113.9:1", "/api", policy, []string{"X-Forwarded-Prefix: /evil"}, "/api"},
		{"after a proxy's", "10.0.0.5:1", "/api", policy, []string{"X-Forwarded-Prefix: /outer/"}, "/outer/api"},
		{"after a proxy's, which is no path", "10.0.0.5:1", "/api", policy, []string{"X-Forwarded-Prefix: //evil.example"}, "/api"},
		{"after two", "10.0.0.5:1", "/api", policy, []string{"X-Forwarded-Prefix: /a", "X-Forwarded-Prefix: /b"}, "/api"},
		{"only a proxy's", "10.0.0.5:1", "", policy, []string{"X-Forwarded-Prefix: /outer"}, "/outer"},
		{"not wanted", "10.0.0.5:1", "/api", &Policy{Trust: trust, NoXForwarded: true}, []string{"X-Forwarded-Prefix: /outer"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := hop(tt.peer, "a")
			h.Prefix = tt.prefix
			got, n := "", 0
			for line := range strings.Lines(string(tt.policy.AppendHeaders(nil, parse(tt.came...), h))) {
				if value, ok := strings.CutPrefix(line, "X-Forwarded-Prefix: "); ok {
					got, n = strings.TrimSpace(value), n+1
				}
			}
			if got != tt.want || n > 1 {
				t.Errorf("got %q, %d times, want %q", got, n, tt.want)
			}
		})
	}
}

// TestEditsOfOthers: fields that a route sets or removes aren't passed on from a trusted
// proxy, either.
func TestEditsOfOthers(t *testing.T) {
	edits, err := headeredit.New(headeredit.Spec{Set: [][2]string{{"X-Forwarded-User", "me"}}, Remove: []string{"X-Forwarded-Server"}})
	if err != nil {
		t.Fatal(err)
	}
	h := hop("10.0.0.5:1", "a")
	h.Edits = edits
	in := http.Header{"X-Forwarded-User": {"root"}, "X-Forwarded-Server": {"edge"}, "X-Forwarded-Ssl": {"on"}}
	policy.SetHeaders(in, in, h)
	if in.Get("X-Forwarded-User") != "" || in.Get("X-Forwarded-Server") != "" || in.Get("X-Forwarded-Ssl") != "on" {
		t.Errorf("a backend gets %v", in)
	}
}

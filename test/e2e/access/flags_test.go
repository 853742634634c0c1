//go:build unix

package access

import (
	"net/http"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestOriginsWithoutFile: a command line admits pages of all sites, unless it says which.
func TestOriginsWithoutFile(t *testing.T) {
	t.Parallel()
	back := kit.StartBackends(t, 1)[0]
	for _, tt := range []struct {
		flags  []string
		status int
	}{
		{nil, http.StatusSwitchingProtocols},
		{[]string{"--origins", "same_site"}, http.StatusForbidden},
		{[]string{"--origins", "same_site", "--origins", "http://page.test"}, http.StatusSwitchingProtocols},
	} {
		b := &kit.Balancer{Process: kit.StartHoldfast(t, append([]string{"run", "--listen", "127.0.0.1:0", "--backend", back.Address}, tt.flags...)...)}
		b.AwaitReady(t)
		w, res, err := wspeer.Dial(b.Address, "/echo", "Origin: http://page.test")
		if res == nil || res.StatusCode != tt.status {
			t.Errorf("with %v: %v, %v, want %d", tt.flags, res, err, tt.status)
		}
		if err == nil {
			w.Close()
		}
		b.Stop(t)
	}
}

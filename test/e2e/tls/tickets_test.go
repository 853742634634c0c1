//go:build unix

package tls

import (
	"crypto/tls"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestTickets: sessions of TLS are resumed after a reload, by another balancer with the
// same ticket_secret, and by none without it.
func TestTickets(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		backends := kit.StartBackends(t, 1)
		list := certificates(ca.Issue("a.example", "127.0.0.1"))
		const secret = ", ticket_secret: a-secret-of-two-balancers-0123456789"
		alone := file(engine, list, backends[0].Address)
		one := kit.StartBalancer(t, file(engine, list+secret, backends[0].Address))
		two := kit.StartBalancer(t, file(engine, list+secret, backends[0].Address))
		three := kit.StartBalancer(t, alone)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			// The name makes a client keep one session for all balancers.
			client := func() *tls.Config {
				return &tls.Config{RootCAs: ca.Pool(), ServerName: "a.example", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			}
			resumed := func(b *kit.Balancer, c *tls.Config) bool {
				t.Helper()
				return mustDial(t, b.Address, c).DidResume
			}
			c := client()
			if resumed(one, c) || !resumed(two, c) || !resumed(one, c) || resumed(three, c) {
				t.Errorf("%s: balancers with the same secret must resume each other's sessions, and no others", tls.VersionName(version))
			}
			for _, b := range []*kit.Balancer{one, three} {
				c := client()
				resumed(b, c)
				b.Reload(t, kit.Reloaded)
				if !resumed(b, c) {
					t.Errorf("%s: a reload threw the keys away", tls.VersionName(version))
				}
			}
		}
		series := `holdfast_tls_handshakes_total{result="ok",resumed="true",version="1.3"}`
		if m := three.Metrics(t); m[series] != 1 {
			t.Errorf("%s is %v", series, m[series])
		}
	})
}

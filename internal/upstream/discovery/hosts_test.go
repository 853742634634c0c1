package discovery

import (
	"testing"
	"testing/synctest"
	"time"
)

// A certificate is for the target of an SRV record, or for the name that was looked
// up: not for the IP address, which is all that the backend's address has.
func TestHosts(t *testing.T) {
	for _, c := range []struct {
		name    string
		spec    Spec
		records map[string]reply
		want    string
	}{
		{"target", srvSpec("ws.internal."), map[string]reply{
			"ws.internal. SRV": records("ws.internal. 60 IN SRV 0 0 3000 WS1.internal."),
			"ws1.internal. A":  records("ws1.internal. 60 IN A 10.0.0.1", "ws1.internal. 60 IN A 10.0.0.2"),
		}, "ws1.internal"},
		{"target that is an address", srvSpec("ws.internal."), map[string]reply{
			"ws.internal. SRV": records("ws.internal. 60 IN SRV 0 0 3000 10.0.0.1."),
		}, "10.0.0.1"},
		{"name with addresses", aSpec("ws.internal."), map[string]reply{
			"ws.internal. A":    records("ws.internal. 60 IN A 10.0.0.1", "ws.internal. 60 IN A 10.0.0.2"),
			"ws.internal. AAAA": code(3),
		}, "ws.internal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				for name, r := range c.records {
					w.dns.set(name, r)
				}
				w.Apply(map[string]Spec{"chat": c.spec}, time.Second)
				members := w.Members("chat")
				if len(members) == 0 {
					t.Fatal("nothing was found")
				}
				for _, m := range members {
					if m.Host != c.want {
						t.Errorf("%s at %s is %q, want %q", m.Name, m.Address, m.Host, c.want)
					}
				}
			})
		})
	}
}

//go:build unix

package app_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/nameserver"
	"github.com/holdfast-ws/holdfast/internal/testkit/pebble"
)

// The listener for plain HTTP answers the challenge for the one with TLS. A reload may
// change the domains, and end all of it.
func TestACME(t *testing.T) {
	plain := testkit.FreeAddress(t) // Pebble has to know the port
	names := nameserver.StartTCP(t, "a.example.com. 60 IN A 127.0.0.1", "b.example.com. 60 IN A 127.0.0.1")
	p := pebble.Start(t, pebble.Options{HTTPPort: int(netip.MustParseAddrPort(plain).Port()), DNS: names.Address})
	storage := t.TempDir()
	file := func(acme string) string {
		return fmt.Sprintf(`
listeners:
  - {name: plain, address: %q}
%s
pools: {main: {backends: [{address: "127.0.0.1:9"}]}}
`, plain, acme)
	}
	withACME := func(domains string) string {
		return file(fmt.Sprintf(`  - {name: public, address: "127.0.0.1:0", tls: {acme: {domains: [%s], directory: %q, ca: %q, storage: %q}}}`, domains, p.Directory, p.CA, storage))
	}
	obtained := func(name string) bool {
		found, _ := filepath.Glob(filepath.Join(storage, "certificates", "*", name, name+".crt"))
		return len(found) == 1
	}
	b := start(t, withACME("a.example.com"))
	testkit.Eventually(t, "a certificate is obtained", func() bool { return obtained("a.example.com") })
	b.mustReload(withACME("a.example.com, b.example.com"))
	testkit.Eventually(t, "another certificate is obtained", func() bool { return obtained("b.example.com") })
	// The line comes after the file.
	testkit.Eventually(t, "two lines about certificates", func() bool {
		return strings.Count(b.log.String(), "certificate obtained by ACME") == 2
	})
	if _, err := b.reload(strings.Replace(withACME("a.example.com"), p.CA, storage, 1)); err == nil || !strings.Contains(err.Error(), storage) {
		t.Errorf("a folder was accepted as the file of the CA: %v", err)
	}
	b.mustReload(file(""))
}

package app_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// TestCheckFilesOfBackends: what is wrong with the files, and certificates that soon
// expire.
func TestCheckFilesOfBackends(t *testing.T) {
	ca := testca.New(t)
	p := config.NewPool("chat")
	if errs, warnings := app.CheckFiles(&config.Config{Pools: []config.Pool{p}}); len(errs)+len(warnings) > 0 {
		t.Errorf("without TLS: %v, %v", errs, warnings)
	}
	issue := func(left time.Duration) (cert, key string) {
		return ca.IssueLike(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(left) }, "balancer").Files()
	}
	_, otherKey := issue(time.Hour)
	for _, c := range []struct {
		left       time.Duration
		key        string // "" is the right one
		want, path string
		warning    bool
	}{
		{365 * 24 * time.Hour, "", "", "", false},
		{10 * time.Minute, "", "the certificate expires at ", "pools.chat.tls.cert", true},
		{-time.Hour, "", "the certificate has expired at ", "pools.chat.tls.cert", true},
		{time.Hour, otherKey, "private key does not match public key", "pools.chat.tls.cert", false},
		{time.Hour, "/nowhere", "no such file", "pools.chat.tls.key", false},
	} {
		cert, key := issue(c.left)
		if c.key != "" {
			key = c.key
		}
		p.TLS = &config.PoolTLS{CA: ca.File(), Cert: cert, Key: key}
		errs, warnings := app.CheckFiles(&config.Config{Pools: []config.Pool{p}})
		found := errs
		if c.warning {
			found = warnings
		}
		switch {
		case c.want == "" && len(errs)+len(warnings) == 0:
		case len(errs)+len(warnings) != 1 || len(found) != 1 || !strings.Contains(found[0].Msg, c.want) || string(found[0].Path) != c.path:
			t.Errorf("%q: errors %v, warnings %v", c.want, errs, warnings)
		}
	}
}

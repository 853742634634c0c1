package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// TestImportedSecrets: a file with a secret in it is only for its owner, also if there was
// one before.
func TestImportedSecrets(t *testing.T) {
	pool := func(change func(*config.Pool)) *config.Config {
		p := config.NewPool("a")
		change(&p)
		return &config.Config{Pools: []config.Pool{p}}
	}
	for name, test := range map[string]struct {
		c    *config.Config
		mode os.FileMode
	}{
		"none":            {pool(func(*config.Pool) {}), 0o644},
		"cookie":          {pool(func(p *config.Pool) { p.Affinity.Cookie = &config.Cookie{Secret: "x"} }), 0o600},
		"unsigned cookie": {pool(func(p *config.Pool) { p.Affinity.Cookie = &config.Cookie{} }), 0o644},
		"check": {pool(func(p *config.Pool) {
			p.Health.HTTP = &config.HTTPCheck{Headers: config.Headers{{"authorization", "Basic eA=="}}}
		}), 0o600},
		"tickets":   {&config.Config{Listeners: []config.Listener{{TLS: &config.ListenerTLS{TicketSecret: "x"}}}}, 0o600},
		"header":    {&config.Config{Routes: []config.Route{{RequestHeaders: config.HeaderEdits{Set: config.Headers{{"X-Api-Key", "x"}}}}}}, 0o600},
		"passed on": {&config.Config{RequestHeaders: config.HeaderEdits{Set: config.Headers{{"X-Api-Key", "${header.X-Key}"}, {"X-Real-IP", "1"}}}}, 0o644},
	} {
		for _, before := range []bool{false, true} {
			file := filepath.Join(t.TempDir(), "f.yaml")
			if before {
				if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := (&importCommand{Output: file, Force: before}).write([]byte("text"), test.c); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(file)
			if err != nil || info.Mode().Perm()&^0o022 != test.mode&^0o022 || info.Size() != 4 {
				t.Errorf("%s, before %v: %v, %v", name, before, info.Mode(), err)
			}
		}
	}
}

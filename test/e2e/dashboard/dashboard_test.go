//go:build unix

package dashboard

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// picturesEnv names a directory that gets screenshots.
const picturesEnv = "HOLDFAST_E2E_PICTURES"

// operator runs a task of node/dashboard.js.
func operator(t *testing.T, url, do string, more map[string]string) *process.Process {
	t.Helper()
	task := map[string]string{"chromium": kit.Chromium(t), "url": url, "do": do, "pictures": os.Getenv(picturesEnv)}
	for k, v := range more {
		task[k] = v
	}
	text, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	return process.Start(t, "operator", kit.Node(t, "dashboard.js", string(text)))
}

// seen waits for the end of a task and reads what it saw.
func seen(t *testing.T, p *process.Process, result any) {
	t.Helper()
	line := p.Stdout.Find(t, "result", 0, func(line string) bool { return strings.HasPrefix(line, "{") })
	var all struct{ Errors []string }
	for _, v := range []any{&all, result} {
		if err := json.Unmarshal([]byte(line), v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	for _, e := range all.Errors {
		t.Errorf("the page reported: %s", e)
	}
	if status := p.Wait(t, testkit.Patience); status != 0 {
		t.Errorf("the operator's script ended with status %d", status)
	}
}

// finding is what axe-core says of a page.
type finding struct {
	Where, ID, Impact string
	Nodes             []string
}

func wantNone(t *testing.T, findings []finding) {
	t.Helper()
	for _, f := range findings {
		t.Errorf("%s: %s (%s): %s", f.Where, f.ID, f.Impact, strings.Join(f.Nodes, "\n"))
	}
}

const secret = "a secret of at least thirty-two bytes, for tests"

// file is a configuration of two backends, with tokens that the clients at /quiet show.
func file(t *testing.T, backends []*kit.Backend, more string) string {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(keys, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
listeners: [{name: public, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"%s}
keepalive: {interval: 0}
routes:
  - {match: {path: /quiet}, pool: main, auth: {jwt: {secret_file: %q, issuer: any, audience: any, token: [query:access_token], session_claims: [sub]}}}
  - {match: {path: /idle}, pool: idle}
  - {pool: main}
pools:
  main:
    drain: {timeout: 5m, spread: 2m}
    backends: [{name: a, address: %q}, {name: b, address: %q}]
  idle:
    backends: [{name: nobody, address: "127.0.0.1:1"}]
`, more, keys, backends[0].Address, backends[1].Address)
}

func TestLook(t *testing.T) {
	t.Parallel()
	backends := kit.StartBackends(t, 2)
	b := kit.StartBalancer(t, file(t, backends, ""))
	kit.OpenMany(t, b.Address, "/echo", 12)
	var got struct {
		Findings []finding
		TooWide  []string
		Colours  struct{ Dark, Button, Reloaded string }
	}
	seen(t, operator(t, "http://"+b.Admin, "look", nil), &got)
	wantNone(t, got.Findings)
	if len(got.TooWide) > 0 {
		t.Errorf("views that are wider than a phone: %v", got.TooWide)
	}
	if c := got.Colours; c.Dark != "rgb(15, 18, 22)" || c.Button != "rgb(244, 245, 247)" || c.Reloaded != c.Button {
		t.Errorf("backgrounds: %+v", c)
	}
}

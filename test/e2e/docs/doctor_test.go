//go:build unix

package docs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// diagnosis is the output of holdfast doctor --json.
type diagnosis struct {
	Fix    int
	Checks []struct {
		Check, Result, Found string
	}
}

func (d *diagnosis) with(result string) (checks []string) {
	for _, c := range d.Checks {
		if c.Result == result {
			checks = append(checks, c.Check)
		}
	}
	return checks
}

// examine runs the doctor on the process, which serves at address.
func examine(t testing.TB, p *process.Process, address string, more ...string) (d diagnosis) {
	t.Helper()
	out := kit.Run(t, append([]string{"doctor", "ws://" + address, "--pid", fmt.Sprint(p.Cmd.Process.Pid), "--idle", "500ms", "--json"}, more...)...)
	if err := json.Unmarshal([]byte(out.Stdout), &d); err != nil {
		t.Fatalf("%v: it said %s%s", err, out.Stdout, out.Stderr)
	}
	want := 0
	if d.Fix > 0 {
		want = 1
	}
	if out.Status != want || len(d.Checks) != 15 {
		t.Errorf("status %d with %d things to fix of %d; %s", out.Status, d.Fix, len(d.Checks), out.Stderr)
	}
	return d
}

// The programs of docs/backends.md pass all checks and exit with status 0.
func TestDocumentedServers(t *testing.T) {
	for _, language := range []string{"go", "js"} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			s := kit.Documented(t, language, t.TempDir())
			d := examine(t, s.Process, s.Address+"/ws", "--interval", "1s", "--ask", "hi", "--answer", `^\d+: hi`)
			if len(d.with("ok")) != 15 {
				t.Errorf("%+v", d)
			}
			if status := s.Wait(t, testkit.Patience); status != 0 {
				t.Errorf("it ended with status %d", status)
			}
		})
	}
}

// The program without reattach passes all checks but those for reattach.
func TestDocumentedServerWithoutReattach(t *testing.T) {
	t.Parallel()
	s := kit.Documented(t, "javascript", "")
	d := examine(t, s.Process, s.Address+"/ws", "--interval", "1s", "--no-reattach")
	if ok, skipped := d.with("ok"), d.with("skipped"); len(ok) != 11 || len(skipped) != 4 {
		t.Errorf("%+v", d)
	}
	if status := s.Wait(t, testkit.Patience); status != 0 {
		t.Errorf("it ended with status %d", status)
	}
}

// A server on Node's ws that isn't prepared for a balancer: it works, but accepts
// any session as a new one, and exits at SIGTERM.
func TestPlainNodeServerFailsReattachAndDrain(t *testing.T) {
	t.Parallel()
	s := kit.StartNodeServer(t)
	d := examine(t, s.Process, s.Address+"/chat", "--subprotocol", "v1.chat", "--subprotocol", "v2.chat")
	if got, want := d.with("fix"), []string{"reattach", "drain-health", "drain-notice", "drain-close", "drain-spread"}; !slices.Equal(got, want) {
		t.Errorf("to fix %v, want %v: %+v", got, want, d)
	}
	if got := d.with("skipped"); !slices.Equal(got, []string{"notice"}) {
		t.Errorf("skipped: %v", got)
	}
	for _, c := range d.Checks {
		want := map[string]string{
			"reattach":    "it took over an unknown session",
			"again":       "the same: subprotocol v2.chat, permessage-deflate; server_no_context_takeover; client_no_context_takeover",
			"compression": "it compresses each message by itself",
			"drain-close": "of 20 sessions, 20 cut off without a Close frame",
		}[c.Check]
		if want != "" && c.Found != want {
			t.Errorf("%s found %q, want %q", c.Check, c.Found, want)
		}
	}
}

// The balancer itself is a server behind a balancer: with a good server behind
// it, it passes the doctor. It hands no session to another server, so reattach
// is not examined.
func TestBalancerPassesDoctor(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		server := kit.StartHoldfast(t, "bench-server", "--listen", "127.0.0.1:0")
		var address string
		server.Stdout.Find(t, "address", 0, func(line string) bool {
			_, rest, ok := strings.Cut(line, "ws://")
			address, _, _ = strings.Cut(rest, "/")
			return ok
		})
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{address}, More: "shutdown: {delay: 2s}\ntimeouts: {shutdown: 5s}"}.YAML())
		d := examine(t, b.Process, b.Address+"/echo", "--health", "http://"+b.Admin+"/health", "--interval", "1s", "--no-reattach")
		for _, c := range d.Checks {
			if c.Result != "ok" && c.Found != "--no-reattach" {
				t.Errorf("%s: %s, %s", c.Check, c.Result, c.Found)
			}
		}
		if status := b.Wait(t, testkit.Patience); status != 0 {
			t.Errorf("exit status %d", status)
		}
	})
}

//go:build unix

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// diagnosis is what `holdfast doctor --json` prints.
type diagnosis struct {
	Mend   int
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

// examine has the process, which serves at address, examined to its end.
func examine(t testing.TB, p *process, address string, more ...string) (d diagnosis) {
	t.Helper()
	out := run(t, append([]string{"doctor", "ws://" + address, "--pid", fmt.Sprint(p.cmd.Process.Pid), "--idle", "500ms", "--json"}, more...)...)
	if err := json.Unmarshal([]byte(out.stdout), &d); err != nil {
		t.Fatalf("%v: it said %s%s", err, out.stdout, out.stderr)
	}
	want := 0
	if d.Mend > 0 {
		want = 1
	}
	if out.status != want || len(d.Checks) != 14 {
		t.Errorf("status %d with %d things to mend of %d; %s", out.status, d.Mend, len(d.Checks), out.stderr)
	}
	return d
}

// program is the one of a language in docs/backends.md, with other numbers: a
// free port, and times that a test can wait for.
func program(t testing.TB, language string, instead ...string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/backends.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		if block[1] == language {
			found = append(found, block[2])
		}
	}
	if len(found) != 1 {
		t.Fatalf("docs/backends.md has %d programs in %s, want one", len(found), language)
	}
	for i := 0; i < len(instead); i += 2 {
		if strings.Count(found[0], instead[i]) != 1 {
			t.Fatalf("the program in %s doesn't have %q once", language, instead[i])
		}
		found[0] = strings.ReplaceAll(found[0], instead[i], instead[i+1])
	}
	return found[0]
}

// The programs of docs/backends.md have nothing to mend, and end with status 0.
func TestDocumentedServers(t *testing.T) {
	listens := regexp.MustCompile(`:(\d+)"?$|port (\d+)$`)
	for language, command := range map[string]func(t *testing.T, dir string) *exec.Cmd{
		"go": func(t *testing.T, dir string) *exec.Cmd {
			source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "server")
			text := program(t, "go", `":3000"`, `"127.0.0.1:0"`, "MaxSessions: 10000", "MaxSessions: 10000, Notice: 2e9, DrainTimeout: 5e9")
			if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			return exec.Command(binary)
		},
		"js": func(t *testing.T, dir string) *exec.Cmd {
			source := filepath.Join(dir, "server.js")
			text := program(t, "js", "listen(3000,", `listen(0, "127.0.0.1",`, "= 15_000", "= 2_000", "= 8_000", "= 2_500")
			if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := node(t, "server.js")
			modules, err := filepath.Abs("node/node_modules")
			if err != nil {
				t.Fatal(err)
			}
			cmd.Args[1] = source
			cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
			return cmd
		},
	} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			p := start(t, language+" server", command(t, t.TempDir()))
			var port string
			said := map[string]*lines{"go": p.stderr, "js": p.stdout}[language]
			said.find(t, "address", 0, func(line string) bool {
				m := listens.FindStringSubmatch(line)
				if m != nil {
					port = m[1] + m[2]
				}
				return m != nil
			})
			d := examine(t, p, "127.0.0.1:"+port+"/ws", "--interval", "1s")
			if len(d.with("ok")) != 14 {
				t.Errorf("%+v", d)
			}
			if status := p.wait(t, patience); status != 0 {
				t.Errorf("it ended with status %d", status)
			}
		})
	}
}

// A server on Node's ws that nobody made ready: it serves well, and is simply
// gone at SIGTERM.
func TestPlainNodeServerIsToldWhatToMend(t *testing.T) {
	t.Parallel()
	s := startNodeServer(t)
	d := examine(t, s.process, s.address+"/chat", "--subprotocol", "v1.chat", "--subprotocol", "v2.chat")
	if got, want := d.with("mend"), []string{"drain-health", "drain-notice", "drain-close", "drain-spread"}; !slices.Equal(got, want) {
		t.Errorf("to mend %v, want %v: %+v", got, want, d)
	}
	if got := d.with("skipped"); got != nil {
		t.Errorf("skipped: %v", got)
	}
	for _, c := range d.Checks {
		want := map[string]string{
			"again":       "the same: subprotocol v2.chat, permessage-deflate; server_no_context_takeover; client_no_context_takeover",
			"compression": "it compresses each message by itself",
			"drain-close": "of 20 sessions, 20 cut off without a Close frame",
		}[c.Check]
		if want != "" && c.Found != want {
			t.Errorf("%s found %q, want %q", c.Check, c.Found, want)
		}
	}
}

//go:build unix

package cli

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

func inDir(t testing.TB, content string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "holdfast.yaml"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPortInUse(t *testing.T) {
	address := kit.AddressInUse(t)
	t.Run("flag", func(t *testing.T) {
		kit.WantOneLine(t, kit.Run(t, "run", "--listen", address, "--backend", "127.0.0.1:1"), 1, address, "address already in use")
	})
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		yaml := kit.Settings{Engine: engine, Backends: []string{"127.0.0.1:1"}, More: ""}.YAML()
		for _, line := range []string{"listeners", "admin"} {
			t.Run(line, func(t *testing.T) {
				var changed []string
				for l := range strings.Lines(yaml) {
					if strings.HasPrefix(l, line) {
						l = strings.Replace(l, "127.0.0.1:0", address, 1)
					}
					changed = append(changed, l)
				}
				dir := inDir(t, strings.Join(changed, ""))
				kit.WantOneLine(t, kit.RunIn(t, dir, "run"), 1, address, "address already in use")
			})
		}
	})
}

// TestFailedStartWithState: what is said of the state file is said after a start, not in
// front of the reason why there was none.
func TestFailedStartWithState(t *testing.T) {
	t.Parallel()
	address := kit.AddressInUse(t)
	for name, content := range map[string]string{"none": "", "later": `{"version": 99, "state": {}}`, "kept": `{"version": 1, "state": {"main": {"b1": {"removed": {"since": "2026-01-02T03:04:05Z"}}}}}`} {
		t.Run(name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state.json")
			if content == "" {
				state = "/dev/null/state.json" // can't be made
			} else if err := os.WriteFile(state, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			yaml := "listeners:\n  - address: " + address + "\nadmin:\n  state: " + state + "\npools:\n  main:\n    backends: [{name: b1, address: \"127.0.0.1:1\"}, {name: b2, address: \"127.0.0.1:2\"}]\nroutes:\n  - pool: main\n"
			kit.WantOneLine(t, kit.RunIn(t, inDir(t, yaml), "run"), 1, address, "address already in use")
		})
	}
}

const brokenYAML = `listeners:
  - address: "127.0.0.1:0"
pools:
  chat:
    blance: round_robin
    backends:
      - {address: 127.0.0.1:3000, weight: 0}
timeouts: {idle: 30}
routes:
  - pool: chatt
`

var brokenErrors = []string{
	`:5:5: unknown key "blance" (did you mean "balance"?)`,
	`:7:43: weight 0 is not allowed: to send a backend nothing, leave it out`,
	`:8:18: bad duration "30": the unit is missing, write for example 30s`,
	`:10:11: unknown pool "chatt" (did you mean "chat"?)`,
}

// All errors of a file are reported at once, with line and column, and nothing
// starts.
func TestBrokenFile(t *testing.T) {
	dir := inDir(t, brokenYAML)
	for _, command := range []string{"run", "check"} {
		o := kit.RunIn(t, dir, command, "-c", "holdfast.yaml")
		want := "holdfast.yaml" + strings.Join(brokenErrors, "\nholdfast.yaml") + "\n"
		if o.Status != 2 || o.Stderr != want || o.Stdout != "" {
			t.Errorf("%s: status %d, stdout %q, stderr:\n%swant:\n%s", command, o.Status, o.Stdout, o.Stderr, want)
		}
	}
}

func TestMissingFile(t *testing.T) {
	for _, args := range [][]string{{"run", "-c", "nowhere.yaml"}, {"check", "-c", "nowhere.yaml"}} {
		o := kit.Run(t, args...)
		if o.Status == 0 {
			t.Errorf("%v: status 0", args)
		}
		kit.WantOneLine(t, o, o.Status, "nowhere.yaml", "no such file")
	}
	kit.WantOneLine(t, kit.Run(t, "run"), 2, "no holdfast.yaml in this directory", "--listen ADDRESS and --backend ADDRESS")
}

func TestCheck(t *testing.T) {
	dir := inDir(t, kit.Settings{Engine: "auto", Backends: []string{"127.0.0.1:1", "127.0.0.1:2"}, More: ""}.YAML())
	o := kit.RunIn(t, dir, "check")
	if o.Status != 0 || o.Stdout != "holdfast.yaml: ok (1 listener, 0 routes, 1 pool, 2 backends)\n" {
		t.Errorf("%+v", o)
	}
}

// The two commands of the README that need no file.
func TestRunFromFlags(t *testing.T) {
	backends := kit.StartBackends(t, 2)
	p := kit.StartHoldfast(t, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--backend", backends[0].Address, "--backend", backends[1].Address)
	b := &kit.Balancer{Process: p}
	b.AwaitReady(t)
	for range 4 {
		w, _, err := wspeer.Dial(b.Address, "/echo")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		kit.WantEcho(t, w, "hello")
	}
	for _, back := range backends {
		if r := back.Report(t); r.Open != 2 {
			t.Errorf("backend %s has %d sessions of 4", r.Name, r.Open)
		}
	}
	kit.WantOneLine(t, kit.Run(t, "reload", "--admin", b.Admin), 1, "there is no file to reload")
	o := kit.Run(t, "status", "--admin", b.Admin)
	if o.Status != 0 || !strings.Contains(o.Stdout, "sessions: 4 now, 4 opened; messages: 4 from clients, 4 from backends") {
		t.Errorf("status: %+v", o)
	}
}

// holdfast reload reports errors, and the balancer continues unchanged.
func TestReloadCommand(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backend := kit.StartBackends(t, 1)[0]
		good := kit.Settings{Engine: engine, Backends: []string{backend.Address}, More: ""}.YAML()
		b := kit.StartBalancer(t, good)
		w, _, err := wspeer.Dial(b.Address, "/echo")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()

		b.WriteConfig(t, brokenYAML)
		o := kit.Run(t, "reload", "--admin", b.Admin)
		if o.Status == 0 || o.Stdout != "" {
			t.Errorf("a broken file: status %d, stdout %q", o.Status, o.Stdout)
		}
		for _, want := range brokenErrors {
			if !strings.Contains(o.Stderr, b.File+want) {
				t.Errorf("%q is not in: %s", want, o.Stderr)
			}
		}
		b.FindLog(t, kit.ReloadRefused, 0)
		kit.WantEcho(t, w, "still here")
		v, _, err := wspeer.Dial(b.Address, "/echo")
		if err != nil {
			t.Fatalf("a new session after a reload that was refused: %v", err)
		}
		defer v.Close()

		if err := os.Remove(b.File); err != nil {
			t.Fatal(err)
		}
		kit.WantOneLine(t, kit.Run(t, "reload", "--admin", b.Admin), 1, "no such file")

		// The address is found in the environment, too.
		t.Setenv("HOLDFAST_ADMIN", b.Admin)
		b.WriteConfig(t, strings.Replace(good, "engine: "+engine, "engine: auto", 1))
		o = kit.Run(t, "reload")
		if o.Status != 0 || o.Stdout != "reloaded\n" ||
			!strings.Contains(o.Stderr, "engine changed, which takes effect at the next start (warning)") {
			t.Errorf("a good file: %+v", o)
		}
		kit.WantEcho(t, w, "and still")
	})
}

func TestAdminNotReachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := ln.Addr().String()
	ln.Close()
	for _, command := range []string{"reload", "status"} {
		kit.WantOneLine(t, kit.Run(t, command, "--admin", free), 1, "no balancer answers at "+free, "--admin")
		kit.WantOneLine(t, kit.Run(t, command, "--admin", "nonsense"), 2, `"nonsense" is not host:port`)
	}
}

// A name that doesn't resolve makes its backend down and has no other effect.
func TestNameThatDoesNotResolve(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backend := kit.StartBackends(t, 1)[0]
		yaml := kit.Settings{Engine: engine, Backends: []string{backend.Address}, More: fmt.Sprintf(`  lost:
    backends: [{address: "nowhere.invalid:3000"}]
  half:
    backends: [{address: "nowhere.invalid:3000"}, {address: %q}]
routes:
  - {match: {path: /lost}, pool: lost}
  - {match: {path: /echo}, pool: half}
  - {match: {path: /quiet}, pool: main}`, backend.Address)}.YAML()
		b := kit.StartBalancer(t, yaml)
		b.Stderr.Find(t, "warning", 0, func(line string) bool {
			return strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, "nowhere.invalid does not resolve")
		})
		_, res, err := wspeer.Dial(b.Address, "/lost")
		if res == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			t.Errorf("the lost pool: %v, want 503 with Retry-After", err)
		}
		if res, err := http.Get("http://" + b.Address + "/lost"); err != nil || res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("plain HTTP to the lost pool: %v, %v, want 503", res, err)
		} else {
			res.Body.Close()
		}
		http.DefaultClient.CloseIdleConnections()
		for range 4 {
			w, _, err := wspeer.Dial(b.Address, "/echo")
			if err != nil {
				t.Fatalf("the pool with one backend left: %v", err)
			}
			defer w.Close()
			kit.WantEcho(t, w, "hello")
		}
		w, _, err := wspeer.Dial(b.Address, "/quiet")
		if err != nil {
			t.Fatalf("the pool with nothing wrong: %v", err)
		}
		defer w.Close()
		if _, res, _ := wspeer.Dial(b.Address, "/elsewhere"); res == nil || res.StatusCode != http.StatusNotFound {
			t.Errorf("without a route: %v, want 404", res)
		}
		if o := kit.Run(t, "status", "--admin", b.Admin); !strings.Contains(o.Stdout, "unresolved") {
			t.Errorf("the status doesn't tell: %+v", o)
		}
	})
}

func TestHelpTeaches(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {}} {
		o := kit.Run(t, args...)
		for _, word := range []string{"holdfast demo", "holdfast run --listen :8080 --backend", "holdfast check -c", "holdfast reload"} {
			if !strings.Contains(o.Stdout, word) {
				t.Errorf("%v: status %d, %q is not in:\n%s%s", args, o.Status, word, o.Stdout, o.Stderr)
			}
		}
	}
	if o := kit.Run(t, "run", "--listn", ":80"); o.Status != 2 || !strings.Contains(o.Stderr, "--listen") {
		t.Errorf("a mistyped flag: %+v", o)
	}
	if o := kit.Run(t, "version"); o.Status != 0 || !strings.HasPrefix(o.Stdout, "holdfast ") {
		t.Errorf("version: %+v", o)
	}
}

//go:build unix

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// oneLine checks that a command failed with one line on stderr that holds all
// the words.
func oneLine(t testing.TB, o outcome, status int, words ...string) {
	t.Helper()
	if o.status != status {
		t.Errorf("exit status %d, want %d", o.status, status)
	}
	said := strings.TrimSuffix(o.stderr, "\n")
	if said == "" || strings.Contains(said, "\n") {
		t.Errorf("want one line, got:\n%s", o.stderr)
	}
	for _, word := range words {
		if !strings.Contains(said, word) {
			t.Errorf("%q is not in: %s", word, said)
		}
	}
}

func inDir(t testing.TB, content string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "holdfast.yaml"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// taken is an address in use.
func taken(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

func TestPortInUse(t *testing.T) {
	address := taken(t)
	t.Run("flag", func(t *testing.T) {
		oneLine(t, run(t, "run", "--listen", address, "--backend", "127.0.0.1:1"), 1, address, "address already in use")
	})
	eachEngine(t, func(t *testing.T, engine string) {
		yaml := settings{engine, []string{"127.0.0.1:1"}, ""}.yaml()
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
				oneLine(t, runIn(t, dir, "run"), 1, address, "address already in use")
			})
		}
	})
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

// Every mistake is told at once, with its place, and nothing starts.
func TestBrokenFile(t *testing.T) {
	dir := inDir(t, brokenYAML)
	for _, command := range []string{"run", "check"} {
		o := runIn(t, dir, command, "-c", "holdfast.yaml")
		want := "holdfast.yaml" + strings.Join(brokenErrors, "\nholdfast.yaml") + "\n"
		if o.status != 2 || o.stderr != want || o.stdout != "" {
			t.Errorf("%s: status %d, stdout %q, stderr:\n%swant:\n%s", command, o.status, o.stdout, o.stderr, want)
		}
	}
}

func TestMissingFile(t *testing.T) {
	for _, args := range [][]string{{"run", "-c", "nowhere.yaml"}, {"check", "-c", "nowhere.yaml"}} {
		o := run(t, args...)
		if o.status == 0 {
			t.Errorf("%v: status 0", args)
		}
		oneLine(t, o, o.status, "nowhere.yaml", "no such file")
	}
	oneLine(t, run(t, "run"), 2, "there is no holdfast.yaml here", "--listen ADDRESS and --backend ADDRESS")
}

func TestCheck(t *testing.T) {
	dir := inDir(t, settings{"auto", []string{"127.0.0.1:1", "127.0.0.1:2"}, ""}.yaml())
	o := runIn(t, dir, "check")
	if o.status != 0 || o.stdout != "holdfast.yaml: ok (1 listener, 0 routes, 1 pool, 2 backends)\n" {
		t.Errorf("%+v", o)
	}
}

// The two commands of the README, without any file.
func TestRunFromFlags(t *testing.T) {
	backends := startBackends(t, 2)
	p := startHoldfast(t, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--backend", backends[0].address, "--backend", backends[1].address)
	b := &balancer{process: p}
	b.ready(t)
	for range 4 {
		w, _, err := dialWire(b.address, "/echo")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		mustEcho(t, w, "hello")
	}
	for _, back := range backends {
		if r := back.report(t); r.Open != 2 {
			t.Errorf("backend %s has %d sessions of 4", r.Name, r.Open)
		}
	}
	oneLine(t, run(t, "reload", "--admin", b.admin), 1, "there is no file to reload")
	o := run(t, "status", "--admin", b.admin)
	if o.status != 0 || !strings.Contains(o.stdout, "sessions: 4 now, 4 opened; messages: 4 from clients, 4 from backends") {
		t.Errorf("status: %+v", o)
	}
}

// `holdfast reload` says what is wrong, and the balancer goes on as it was.
func TestReloadCommand(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		backend := startBackends(t, 1)[0]
		good := settings{engine, []string{backend.address}, ""}.yaml()
		b := balance(t, good)
		w, _, err := dialWire(b.address, "/echo")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()

		b.write(t, brokenYAML)
		o := run(t, "reload", "--admin", b.admin)
		if o.status == 0 || o.stdout != "" {
			t.Errorf("a broken file: status %d, stdout %q", o.status, o.stdout)
		}
		for _, want := range brokenErrors {
			if !strings.Contains(o.stderr, b.file+want) {
				t.Errorf("%q is not told: %s", want, o.stderr)
			}
		}
		b.log(t, reloadRefused, 0)
		mustEcho(t, w, "still here")
		v, _, err := dialWire(b.address, "/echo")
		if err != nil {
			t.Fatalf("a new session after a reload that was refused: %v", err)
		}
		defer v.Close()

		if err := os.Remove(b.file); err != nil {
			t.Fatal(err)
		}
		oneLine(t, run(t, "reload", "--admin", b.admin), 1, "no such file")

		// The address is found in the environment, too.
		t.Setenv("HOLDFAST_ADMIN", b.admin)
		b.write(t, strings.Replace(good, "engine: "+engine, "engine: auto", 1))
		o = run(t, "reload")
		if o.status != 0 || o.stdout != "reloaded\n" ||
			!strings.Contains(o.stderr, "engine changed, which takes effect at the next start (warning)") {
			t.Errorf("a good file: %+v", o)
		}
		mustEcho(t, w, "and still")
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
		oneLine(t, run(t, command, "--admin", free), 1, "no balancer answers at "+free, "--admin")
		oneLine(t, run(t, command, "--admin", "nonsense"), 1, `"nonsense" is not host:port`)
	}
}

// A name that doesn't resolve takes its backend down, nothing else.
func TestNameThatDoesNotResolve(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		backend := startBackends(t, 1)[0]
		yaml := settings{engine, []string{backend.address}, fmt.Sprintf(`  lost:
    backends: [{address: "nowhere.invalid:3000"}]
  half:
    backends: [{address: "nowhere.invalid:3000"}, {address: %q}]
routes:
  - {match: {path: /lost}, pool: lost}
  - {match: {path: /echo}, pool: half}
  - {match: {path: /quiet}, pool: main}`, backend.address)}.yaml()
		b := balance(t, yaml)
		b.stderr.find(t, "warning", 0, func(line string) bool {
			return strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, "nowhere.invalid does not resolve")
		})
		_, res, err := dialWire(b.address, "/lost")
		if res == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			t.Errorf("the lost pool: %v, want 503 with Retry-After", err)
		}
		if res, err := http.Get("http://" + b.address + "/lost"); err != nil || res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("plain HTTP to the lost pool: %v, %v, want 503", res, err)
		} else {
			res.Body.Close()
		}
		http.DefaultClient.CloseIdleConnections()
		for range 4 {
			w, _, err := dialWire(b.address, "/echo")
			if err != nil {
				t.Fatalf("the pool with one backend left: %v", err)
			}
			defer w.Close()
			mustEcho(t, w, "hello")
		}
		w, _, err := dialWire(b.address, "/quiet")
		if err != nil {
			t.Fatalf("the pool with nothing wrong: %v", err)
		}
		defer w.Close()
		if _, res, _ := dialWire(b.address, "/elsewhere"); res == nil || res.StatusCode != http.StatusNotFound {
			t.Errorf("without a route: %v, want 404", res)
		}
		if o := run(t, "status", "--admin", b.admin); !strings.Contains(o.stdout, "unresolved") {
			t.Errorf("the status doesn't tell: %+v", o)
		}
	})
}

func TestHelpTeaches(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {}} {
		o := run(t, args...)
		for _, word := range []string{"holdfast demo", "holdfast run --listen :8080 --backend", "holdfast check -c", "holdfast reload"} {
			if !strings.Contains(o.stdout, word) {
				t.Errorf("%v: status %d, %q is not in:\n%s%s", args, o.status, word, o.stdout, o.stderr)
			}
		}
	}
	if o := run(t, "run", "--listn", ":80"); o.status != 2 || !strings.Contains(o.stderr, "--listen") {
		t.Errorf("a mistyped flag: %+v", o)
	}
	if o := run(t, "version"); o.status != 0 || !strings.HasPrefix(o.stdout, "holdfast ") {
		t.Errorf("version: %+v", o)
	}
}

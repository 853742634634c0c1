//go:build unix

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// operated is a balancer with three backends and six sessions.
func operated(t *testing.T, more string) (*kit.Balancer, []*wspeer.Conn) {
	t.Helper()
	backends := kit.StartBackends(t, 3)
	b := kit.StartBalancer(t, kit.Settings{Engine: "auto", Backends: kit.Addresses(backends), More: "shutdown: {delay: 0}\n" + more}.YAML())
	return b, kit.OpenMany(t, b.Address, "/echo", 6)
}

// shows checks that the output of a command has a match of each pattern.
func shows(t *testing.T, out string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(out) {
			t.Errorf("no %s in\n%s", p, out)
		}
	}
}

// closedWith waits for the Close frame of a session.
func closedWith(t *testing.T, w *wspeer.Conn, code int, reason string) {
	t.Helper()
	var closed *wspeer.CloseError
	if _, err := w.Message(); !errors.As(err, &closed) || closed.Code != code || closed.Reason != reason {
		t.Errorf("the session ended with %v, want %d %q", err, code, reason)
	}
	w.SendClose(code, "")
}

func TestSee(t *testing.T) {
	t.Parallel()
	b, _ := operated(t, "")
	shows(t, b.Command(t, 0, "status"), `^holdfast .*, running since .*, configuration 1 of .*holdfast.yaml$`, `^sessions: 6 now, 6 opened; `, `^main +a +127.0.0.1:\d+ +up +1 +2 `)
	shows(t, b.Command(t, 0, "routes"), `^ROUTE +TO +LISTENERS `, `^\* +main$`)
	shows(t, b.Command(t, 0, "certificates"), `^no listener has TLS$`)
	shows(t, b.Command(t, 0, "backends", "list", "main"), `^main/c +127.0.0.1:\d+ +up .* file`)

	all := b.Command(t, 0, "sessions")
	shows(t, all, `^ID +CLIENT +BACKEND `, `^[0-9A-V]{20}  127.0.0.1:\d+ +main/a `)
	if strings.Count(all, "\n") != 7 {
		t.Errorf("not six sessions:\n%s", all)
	}
	var page api.SessionPage
	if err := json.Unmarshal([]byte(b.Command(t, 0, "sessions", "--output", "json", "--backend", "main/b")), &page); err != nil || len(page.Sessions) != 2 || page.Sessions[0].Backend != "b" {
		t.Errorf("%v, %+v", err, page)
	}
	one := page.Sessions[0]
	shows(t, b.Command(t, 0, "sessions", one.ID), `^id +`+one.ID+`$`, `^backend +main/b$`, `^client +`+regexp.QuoteMeta(one.Client)+`$`)
	for _, filter := range []string{"--client=" + one.Client, "--search=" + strings.ToLower(one.ID)} {
		if out := b.Command(t, 0, "sessions", filter); strings.Count(out, "\n") != 2 || !strings.Contains(out, one.ID) {
			t.Errorf("%s: %s", filter, out)
		}
	}
	for _, filter := range []string{"--min-age=1h", "--min-idle=1h", "--client=192.0.2.0/24", "--search=nobody"} {
		shows(t, b.Command(t, 0, "sessions", filter), `^no session matches$`)
	}
	shows(t, b.Command(t, 0, "sessions", "--limit", "4"), `There are more: give a larger --limit, or --after `)

	shows(t, b.Command(t, 0, "log"), `^info$`)
	shows(t, b.Command(t, 0, "log", "debug"), `^debug \(the file: info\)$`)
	if text := b.Command(t, 0, "status", "-o", "json"); !strings.Contains(text, `"log_level": "debug"`) {
		t.Errorf("log debug had no effect: %s", text)
	}
	shows(t, b.Command(t, 0, "reload"), `^reloaded$`)
}

func TestCloseSessions(t *testing.T) {
	t.Parallel()
	b, clients := operated(t, "")
	own := map[string]*wspeer.Conn{} // by address
	for _, w := range clients {
		own[w.Conn.LocalAddr().String()] = w
	}
	var page api.SessionPage
	if err := json.Unmarshal([]byte(b.Command(t, 0, "sessions", "-o", "json")), &page); err != nil || len(page.Sessions) != 6 {
		t.Fatalf("%v, %+v", err, page)
	}
	shows(t, b.Command(t, 0, "close", "--all", "--dry-run"), `^6 sessions would be closed$`)
	first := page.Sessions[0]
	shows(t, b.Command(t, 0, "close", first.ID, "--code", "4001", "--reason", "signed out"), `^1 session closed$`)
	closedWith(t, own[first.Client], 4001, "signed out")
	delete(own, first.Client)
	b.FindLog(t, "session closed", 0, "cause=admin_closed", "id="+first.ID)
	testkit.Eventually(t, "one session less", func() bool { return strings.Contains(b.Command(t, 0, "status"), "sessions: 5 now") })
	shows(t, b.Command(t, 1, "close", first.ID), `^holdfast: .*`+first.ID)

	// Whoever closes five at 20 a second needs a fifth of a second.
	shows(t, b.Command(t, 0, "close", "--pool", "main", "--rate", "20"), `^5 sessions being closed, the last one in 0\.2s$`)
	for _, w := range own {
		closedWith(t, w, 1008, "")
	}
	shows(t, b.Command(t, 0, "close", "--pool", "main"), `^0 sessions closed$`)
}

func TestEventsAndDrain(t *testing.T) {
	t.Parallel()
	b, _ := operated(t, "")
	follow := kit.StartHoldfast(t, "events", "-f", "-o", "json", "--kind", "drain", "--admin", b.Admin)
	shows(t, b.Command(t, 0, "drain", "main/a", "--wait", "--timeout", "0"), `^main/a is empty$`)
	shows(t, b.Command(t, 0, "status"), `^main +a +127.0.0.1:\d+ +drain +1 +0 .*empty`)
	line := follow.Stdout.Find(t, "an event of a drain", 0, func(line string) bool { return strings.Contains(line, `"drain"`) })
	var e api.Event
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Pool != "main" || e.Backend != "a" || time.Since(e.Time).Abs() > time.Hour {
		t.Errorf("%v, %s", err, line)
	}
	shows(t, b.Command(t, 0, "undrain", "main/a"), `^main/a gets new sessions again$`)
	shows(t, b.Command(t, 0, "maint", "main/b", "--timeout", "0", "--wait"), `^main/b is empty$`)
	shows(t, b.Command(t, 0, "changes"), `^main/b +admin +ready +maint `)
	shows(t, b.Command(t, 0, "ready", "main/b"), `^main/b is ready$`)
	shows(t, b.Command(t, 0, "changes"), `^everything is as in the file$`)
	shows(t, b.Command(t, 0, "events"), `^[-0-9]{10} [:0-9]{8}  info   drain        main/a: `)
}

func TestBackends(t *testing.T) {
	t.Parallel()
	b, _ := operated(t, "")
	fourth := kit.StartBackends(t, 1)[0].Address
	shows(t, b.Command(t, 0, "backends", "add", "main/d", fourth, "--weight", "5"), `^main/d added$`)
	shows(t, b.Command(t, 0, "backends", "weight", "main/d", "7"), `^main/d has weight 7$`)
	shows(t, b.Command(t, 0, "backends", "list"), `^main/d +`+regexp.QuoteMeta(fourth)+` +up .*7 +runtime`)
	kit.OpenMany(t, b.Address, "/echo", 3)
	shows(t, b.Command(t, 0, "backends", "remove", "main/a", "--timeout", "0", "--wait"), `^main/a is empty$`)
	shows(t, b.Command(t, 0, "changes", "list"), `^main/d +added `, `^main/a +removed `)
	shows(t, b.Command(t, 0, "changes", "revert", "main/a"), `^undone: 1 change$`)
	testkit.Eventually(t, "main/a is back", func() bool { return regexp.MustCompile(`(?m)^main +a .* up `).MatchString(b.Command(t, 0, "status")) })
	shows(t, b.Command(t, 0, "changes", "revert", "--all"), `^undone: \d changes?$`)
}

// Each command with something wrong says what to do.
func TestWrongCommands(t *testing.T) {
	t.Parallel()
	b, _ := operated(t, "")
	for _, test := range []struct {
		args   string
		status int
		want   string
	}{
		{"status now", 2, "unexpected argument now"},
		{"status --output yaml", 2, `--output must be one of "table","json" but got "yaml"`},
		{"sessions --limit 0", 2, "--limit must be at least 1"},
		{"sessions --pool nowhere", 1, `nowhere`},
		{"sessions --backend a", 2, `"a" is not POOL/BACKEND`},
		{"sessions --client 10.0.0.300", 1, "10.0.0.300"},
		{"sessions NOBODY", 1, "NOBODY"},
		{"close", 2, "which sessions? Give an ID, a filter such as --claim NAME=VALUE, or --all"},
		{"close --claim sub=alice", 1, "session_claims"},
		{"close --all --code 99", 1, "99"},
		{"close --all NOBODY", 2, "use only one of an ID, a filter and --all"},
		{"drain a", 1, `there is no backend "a": want POOL/BACKEND, as holdfast status lists them (did you mean "main/a"?)`},
		{"undrain main/z", 1, `there is no backend "main/z"`},
		{"maint", 2, "missing argument <POOL/BACKEND>"},
		{"ready main/a x", 2, "name one backend as POOL/BACKEND"},
		{"backends", 2, "It needs one of the commands list, add, remove, weight"},
		{"backends add nowhere/x 127.0.0.1:1", 1, `"nowhere/x" begins with no pool: the pools are main`},
		{"backends add main/a 127.0.0.1:1", 1, "main"},
		{"backends add main/x nonsense", 1, "nonsense"},
		{"backends weight main/a 1000000", 1, "weight"},
		{"backends remove main", 1, `there is no backend "main"`},
		{"backends weight main/a heavy", 2, "heavy"},
		{"changes revert", 2, "what to undo?"},
		{"changes revert nowhere", 1, `"nowhere" begins with no pool`},
		{"log loud", 2, `there is no level "loud"`},
		{"events --kind dance", 2, "there is no such kind"},
		{"reload x", 2, "a running balancer reloads the file that it was started with"},
		{"routes --token-file /nowhere", 1, "--token-file: open /nowhere"},
		{"certificates --ca /nowhere", 2, "/nowhere"},
	} {
		args := strings.Fields(test.args)
		if test.args != "backends" { // it has no flags
			args = append(args, "--admin="+b.Admin)
		}
		o := kit.Run(t, args...)
		if o.Status != test.status || !strings.Contains(o.Stderr, test.want) || o.Stdout != "" || strings.Count(o.Stderr, "\n") > 2 {
			t.Errorf("holdfast %s: %d, want %d with %q:\n%s%s", test.args, o.Status, test.status, test.want, o.Stdout, o.Stderr)
		}
	}
	if got := fmt.Sprint(b.Pool(t, "main").Names()); got != "[a b c]" {
		t.Errorf("the backends are %s", got)
	}
}

// The commands find the socket of a balancer on this machine, and say what to do if they
// may not talk to one.
func TestWhereTheBalancerIs(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	yaml := kit.Settings{Engine: "auto", Backends: []string{"127.0.0.1:1"}, More: "shutdown: {delay: 0}"}.YAML()
	b := kit.StartBalancer(t, strings.Replace(yaml, `admin: {address: "127.0.0.1:0"}`, fmt.Sprintf(`admin: {address: "127.0.0.1:0", token_file: %q}`, secret), 1))
	run := func(env string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), kit.Binary, args...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir(), "HOLDFAST_ADMIN=", env)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, test := range []struct {
		env  string
		args []string
		want string
	}{
		{"XDG_RUNTIME_DIR=" + filepath.Dir(filepath.Dir(b.Socket)), nil, "^main +a "}, // the socket needs no token
		{"HOLDFAST_ADMIN=unix:" + b.Socket, nil, "^main +a "},
		{"HOLDFAST_ADMIN=" + b.Admin, nil, `^holdfast: .*no token: give one of admin.token_file with --token-file FILE, HOLDFAST_TOKEN_FILE or HOLDFAST_TOKEN$`},
		{"HOLDFAST_TOKEN=wrong", []string{"--admin", b.Admin}, `^holdfast: .*wrong token: give one of `},
		{"HOLDFAST_TOKEN=0123456789abcdef0123456789abcdef", []string{"--admin", b.Admin}, "^main +a "},
		{"HOLDFAST_TOKEN_FILE=" + secret, []string{"--admin", b.Admin}, "^main +a "},
		{"", []string{"--admin", b.Admin, "--token-file", secret}, "^main +a "},
		{"", []string{"--admin", "/nowhere/admin.sock"}, `^holdfast: no balancer answers at /nowhere/admin.sock: there is no such socket`},
		{"HOLDFAST_ADMIN=nonsense", nil, `^holdfast: admin address "nonsense" is not host:port`},
	} {
		out, err := run(test.env, append([]string{"status"}, test.args...)...)
		if failed := strings.HasPrefix(test.want, "^holdfast: "); failed != (err != nil) {
			t.Errorf("%s %q: %v", test.env, test.args, err)
		}
		shows(t, out, test.want)
	}
}

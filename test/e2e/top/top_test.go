//go:build unix

package top

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// startTop runs holdfast top for a balancer, and waits for its first screen.
func startTop(t *testing.T, b *kit.Balancer, environment ...string) *terminal {
	t.Helper()
	term := start(t, 80, 24, environment, kit.Binary, "top", "--admin", b.Admin, "--interval", "200ms")
	term.await(`(?m)^main `)
	return term
}

// One session of a thousand is found by its client's address and closed with a reason, with
// three keys besides the texts; then a backend is drained.
func TestFindCloseAndDrain(t *testing.T) {
	t.Parallel()
	backends := kit.StartBackends(t, 2)
	b := kit.StartBalancer(t, kit.DrainFile(testkit.Engines()[0], backends, "drain: {timeout: 60s}"))
	const many = 1000
	crowd := kit.OpenMany(t, b.Address, "/echo", many)
	for _, w := range crowd {
		t.Cleanup(func() { w.Close() })
	}
	wanted, _, err := kit.DialFrom(t, "127.0.0.77", b.Address, "/echo")
	if err != nil {
		t.Fatal(err)
	}
	defer wanted.Close()
	b.AwaitSessions(t, many+1)

	term := startTop(t, b)
	term.await(fmt.Sprintf(`sessions %d `, many+1))
	begun := time.Now()
	term.press("f")
	term.await(`find: `)
	term.press("127.0.0.77")
	term.await(`(?s)find: 127\.0\.0\.77 .*1 session found.*127\.0\.0\.77:\d+`)
	term.press(ctrlX)
	term.await(`Close session [0-9A-V]{20} of 127\.0\.0\.77:\d+`)
	term.press("that is enough", enter)
	var end *wspeer.CloseError
	if _, err := wanted.Message(); !errors.As(err, &end) || end.Code != 1008 || end.Reason != "that is enough" {
		t.Errorf("the session ended with %v, want 1008 and the reason", err)
	}
	t.Logf("found and closed in %v", time.Since(begun))
	wanted.SendClose(1008, "")
	term.await(`is being closed with 1008 "that is enough"`)
	b.FindLog(t, "session closed", 0, "cause=admin_closed")
	term.await(fmt.Sprintf(`sessions %d `, many))
	for i, w := range crowd {
		if err := w.RoundTrip("still here"); err != nil {
			t.Fatalf("another session, number %d: %v", i, err)
		}
	}

	term.press("\x1b") // the filter
	term.await(`page 1: 200 sessions`)
	term.press("1")
	term.await(`(?m)^  a +up `)
	term.press(down, "d")
	term.await(`(?s)Drain main/a\? .* 500 sessions`)
	term.press("90s", enter)
	term.await(`main/a is being drained`)
	term.await(`(?m)^  a +drain .* ░{8} \d+ l`)
	b.AwaitBackend(t, "a", "drain")
	term.press(enter)
	term.await(`(?s)Backend main/a.*state +drain for \ds.*drain +[░█]{30} \d+ left, 1m[012]\ds`)
	term.press("q")
	if status := term.status(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if strings.Contains(term.written(), "panic") {
		t.Error("it panicked")
	}
}

// It says that the balancer is gone, goes on when it is back, and fits every size.
func TestRestartAndResize(t *testing.T) {
	t.Parallel()
	backends := kit.StartBackends(t, 1)
	yaml := kit.Settings{Engine: testkit.Engines()[0], Backends: kit.Addresses(backends)}.YAML()
	address := testkit.FreeAddress(t)
	yaml = strings.Replace(yaml, `admin: {address: "127.0.0.1:0"}`, `admin: {address: "`+address+`"}`, 1)
	b := kit.StartBalancer(t, yaml)
	term := startTop(t, b)
	b.Kill(t)
	term.await(`NO ANSWER for \d+s, what is shown is from .*: no balancer`)
	if screen := term.text(); line(screen, "  a ") == "" {
		t.Errorf("what was known isn't shown any more:\n%s", screen)
	}
	b.Process = kit.StartHoldfast(t, "run", "-c", b.File)
	b.AwaitReady(t)
	term.await(`was started again at`)
	for _, size := range [][2]int{{120, 40}, {60, 12}, {20, 5}, {80, 24}} {
		term.resize(size[0], size[1])
		term.await(`(?m)^holdfast `)
		testkit.Eventually(t, fmt.Sprintf("a screen of %dx%d", size[0], size[1]), func() bool {
			lines := strings.Split(term.text(), "\n")
			return len(lines) == size[1] && strings.HasPrefix(lines[size[1]-1], "?: help")
		})
	}
	term.press("q")
	if status := term.status(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// Colours are used only where they are wanted.
func TestColours(t *testing.T) {
	t.Parallel()
	b := kit.StartBalancer(t, kit.Settings{Engine: testkit.Engines()[0], Backends: []string{"127.0.0.1:1"}}.YAML())
	colour := regexp.MustCompile(`\x1b\[(\d+;)*(3[0-7]|9[0-7]|38;[0-9;]+)(;\d+)*m`)
	for _, c := range []struct {
		environment []string
		colours     bool
	}{
		{nil, true},
		{[]string{"NO_COLOR=1"}, false},
		{[]string{"NO_COLOR=yes"}, false},
		{[]string{"NO_COLOR="}, true},
		{[]string{"TERM=vt100"}, false},
	} {
		term := startTop(t, b, c.environment...)
		term.await(`(?m)^  a +up `)
		term.press("q")
		term.status()
		if got := colour.FindString(term.written()); (got != "") != c.colours {
			t.Errorf("%v: colours: %q", c.environment, got)
		}
	}
}

// What a shell does with a job works: it is suspended and continued.
func TestSuspend(t *testing.T) {
	t.Parallel()
	b := kit.StartBalancer(t, kit.Settings{Engine: testkit.Engines()[0], Backends: []string{"127.0.0.1:1"}}.YAML())
	term := start(t, 80, 24, []string{"PS1=ready: ", "BINARY=" + kit.Binary}, "sh", "-i")
	term.await(`ready:`)
	term.press("$BINARY top --admin "+b.Admin, enter)
	term.await(`(?m)^main `)
	term.press(ctrlZ)
	term.await(`(?s)(Stopped|Suspended).*ready:`)
	term.press("fg", enter)
	term.await(`(?m)^main `)
	term.press("q")
	term.await(`ready:\s*$`)
	term.press("exit", enter)
	term.status()

	// Without a shell that could continue it, it isn't suspended.
	alone := startTop(t, b)
	alone.press(ctrlZ)
	alone.await(`not suspended`)
	if err := alone.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := alone.status(); status != 0 {
		t.Errorf("exit status %d after SIGTERM", status)
	}
}

// It doesn't begin where it can't work, and says what to do.
func TestErrors(t *testing.T) {
	t.Parallel()
	address := testkit.FreeAddress(t)
	kit.WantOneLine(t, kit.Run(t, "top", "--admin", address), 2, "needs a terminal", "holdfast status --output json")
	for _, c := range []struct {
		environment []string
		args        []string
		status      int
		want        string
	}{
		{nil, []string{"--admin", address}, 1, "no balancer"},
		{[]string{"TERM=dumb"}, []string{"--admin", address}, 1, "holdfast status"},
		{nil, []string{"--admin", address, "--interval", "10ms"}, 2, "at least 200ms"},
		{nil, []string{"--interval", "often"}, 2, "often"},
	} {
		term := start(t, 80, 24, c.environment, kit.Binary, append([]string{"top"}, c.args...)...)
		status := term.status()
		testkit.Eventually(t, c.want, func() bool { return strings.Contains(term.written(), c.want) })
		if status != c.status {
			t.Errorf("%v: exit status %d, want %d", c.args, status, c.status)
		}
		if strings.Contains(term.written(), "\x1b[?1049h") {
			t.Errorf("%v: it took over the terminal", c.args)
		}
	}
}

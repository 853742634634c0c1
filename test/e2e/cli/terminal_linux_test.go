package cli

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// inTerminal runs a command in a terminal of 60 columns, where somebody types input, and
// returns what the terminal shows.
func inTerminal(t *testing.T, input string, status int, args ...string) string {
	t.Helper()
	line := fmt.Sprintf("stty cols 60 rows 24; exec %s %s", kit.Binary, strings.Join(args, " "))
	cmd := exec.CommandContext(t.Context(), "script", "-qec", line, "/dev/null")
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		t.Fatalf("%v: %v, want status %d: %s", args, err, status, out)
	}
	return strings.ReplaceAll(string(out), "\r", "")
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	b, clients := operated(t, "")
	for _, command := range []string{"status", "sessions", "backends list", "routes"} {
		out := inTerminal(t, "", 0, command, "--admin", b.Admin)
		for line := range strings.Lines(out) {
			if len([]rune(line)) > 61 {
				t.Errorf("%s: %q is wider than the terminal", command, line)
			}
		}
		if strings.Count(out, "\n") < 2 {
			t.Errorf("%s shows %q", command, out)
		}
	}
	if out := inTerminal(t, "n\n", 1, "close", "--all", "--admin", b.Admin); !strings.Contains(out, "Close 6 sessions with 1008? [y/N]") || !strings.Contains(out, "holdfast: no session was closed") {
		t.Errorf("no: %s", out)
	}
	if out := inTerminal(t, "", 1, "close", "--pool", "main", "--admin", b.Admin); !strings.Contains(out, "no session was closed") {
		t.Errorf("nothing typed: %s", out)
	}
	for _, w := range clients {
		kit.WantEcho(t, w, "still there")
	}
	if out := inTerminal(t, "yes\n", 0, "close", "--all", "--reason", "bye", "--admin", b.Admin); !strings.Contains(out, "Close 6 sessions with 1008 bye? [y/N]") || !strings.Contains(out, "6 sessions closed") {
		t.Errorf("yes: %s", out)
	}
	for _, w := range clients {
		closedWith(t, w, 1008, "bye")
	}
	testkit.Eventually(t, "no session", func() bool { return strings.Contains(b.Command(t, 0, "status"), "sessions: 0 now") })
	if out := inTerminal(t, "", 0, "close", "--all", "--admin", b.Admin); strings.Contains(out, "y/N") {
		t.Errorf("it asks before it closes nothing: %s", out)
	}
}

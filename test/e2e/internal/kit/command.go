//go:build unix

package kit

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// WantOneLine checks that a command ended with a status and one line on stderr
// that contains all the words.
func WantOneLine(t testing.TB, o Outcome, status int, words ...string) {
	t.Helper()
	if o.Status != status {
		t.Errorf("exit status %d, want %d", o.Status, status)
	}
	line := strings.TrimSuffix(o.Stderr, "\n")
	if line == "" || strings.Contains(line, "\n") {
		t.Errorf("want one line, got:\n%s", o.Stderr)
	}
	for _, word := range words {
		if !strings.Contains(line, word) {
			t.Errorf("%q is not in: %s", word, line)
		}
	}
}

// AddressInUse returns an address that is in use until the end of the test.
func AddressInUse(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

// Outcome is the result of a command.
type Outcome struct {
	Status         int
	Stdout, Stderr string
}

// Run runs the binary under test until it ends.
func Run(t testing.TB, args ...string) Outcome {
	t.Helper()
	return RunIn(t, t.TempDir(), args...)
}

// RunIn is Run in a directory.
func RunIn(t testing.TB, dir string, args ...string) Outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+t.TempDir()) // for a balancer, which would complain of the one of Main
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return Outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

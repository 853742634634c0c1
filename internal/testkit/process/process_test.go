//go:build unix

package process

import (
	"io"
	"os/exec"
	"syscall"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

func TestProcess(t *testing.T) {
	p := Start(t, "a shell", exec.Command("sh", "-c", "trap 'echo usr1 >&2' USR1; echo ready; while read line; do echo $line; done; exit 3"))
	p.Stdout.Find(t, "ready", 0, func(line string) bool { return line == "ready" })
	from := p.Stdout.Position()
	io.WriteString(p.Stdin, "hello\n")
	if got := p.Stdout.Find(t, "an answer", from, func(string) bool { return true }); got != "hello" {
		t.Errorf("got %q", got)
	}
	p.Signal(t, syscall.SIGUSR1)
	io.WriteString(p.Stdin, "again\n") // some shells run a trap only after a command
	p.Stderr.Find(t, "the trap", 0, func(line string) bool { return line == "usr1" })
	p.Stdin.Close()
	if status := p.Wait(t, testkit.Patience); status != 3 {
		t.Errorf("exit status %d, want 3", status)
	}
}

func TestKill(t *testing.T) {
	p := Start(t, "a sleeper", exec.Command("sleep", "1000"))
	p.Kill(t)
	if status := p.Wait(t, testkit.Patience); status != -1 {
		t.Errorf("exit status %d of a process that was killed", status)
	}
}

// A process that still runs is killed at the end of the test.
func TestProcessEndsWithItsTest(t *testing.T) {
	var p *Process
	t.Run("starts it", func(t *testing.T) { p = Start(t, "a sleeper", exec.Command("sleep", "1000")) })
	if p.Cmd.ProcessState == nil {
		t.Error("it still runs")
	}
}

//go:build unix

package process

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// Process is a child process of a test. If it still runs at the end of the
// test, it is killed. A test fails if one of its processes has panicked or has
// reported a data race.
type Process struct {
	Name   string // for messages
	Cmd    *exec.Cmd
	Stdin  io.WriteCloser // our own servers end when it is closed
	Stdout *testkit.Log
	Stderr *testkit.Log
	exited chan struct{}
}

// Start starts cmd, whose standard input and output must not be set.
func Start(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Name: name, Cmd: cmd, Stdout: &testkit.Log{}, Stderr: &testkit.Log{}, exited: make(chan struct{})}
	var err error
	if p.Stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.Stdout.ReadFrom(stdout)
	}()
	go func() {
		defer close(p.exited)
		p.Stderr.ReadFrom(stderr)
		<-read
		cmd.Wait() // the status is in cmd.ProcessState
	}()
	t.Cleanup(func() { p.cleanUp(t) })
	return p
}

func (p *Process) cleanUp(t testing.TB) {
	p.Cmd.Process.Kill()
	<-p.exited
	output := p.Stderr.String()
	for _, word := range []string{"panic: ", "fatal error: ", "DATA RACE"} {
		if i := strings.Index(output, word); i >= 0 {
			t.Errorf("%s: %.4000s", p.Name, output[i:])
			return
		}
	}
	if t.Failed() {
		const most = 4000
		if len(output) > most {
			output = "…" + output[len(output)-most:]
		}
		t.Logf("the standard error of %s:\n%s", p.Name, output)
	}
}

// Signal sends s to the process.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %v to %s: %v", s, p.Name, err)
	}
}

// Kill ends the process as kill -9 does, and waits until it has ended.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGKILL)
	<-p.exited
}

// Wait waits until the process ends by itself and returns its exit status. It
// fails the test if that takes longer than limit.
func (p *Process) Wait(t testing.TB, limit time.Duration) int {
	t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-p.exited:
		return p.Cmd.ProcessState.ExitCode()
	case <-timeout.C:
		t.Fatalf("%s still runs after %v", p.Name, limit)
		return -1
	}
}

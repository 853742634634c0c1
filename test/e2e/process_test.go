//go:build unix

package e2e

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// lines are what a process has written so far. Positions in them let a test
// wait for what comes after something it did.
type lines struct {
	mu    sync.Mutex
	all   []string
	ended bool
	more  chan struct{} // closed, and replaced, when something is added
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) read(r io.Reader) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		l.mu.Lock()
		if line != "" {
			l.all = append(l.all, strings.TrimSuffix(line, "\n"))
		}
		l.ended = err != nil
		close(l.more)
		l.more = make(chan struct{})
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// after returns the lines from position on, the position of the next one to
// come, whether there will be one, and a channel that tells of it.
func (l *lines) after(position int) (some []string, next int, ended bool, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[position:len(l.all):len(l.all)], len(l.all), l.ended, l.more
}

func (l *lines) position() int {
	_, next, _, _ := l.after(0)
	return next
}

func (l *lines) text() string {
	all, _, _, _ := l.after(0)
	return strings.Join(all, "\n")
}

// find waits for a line from position on for which ok holds.
func (l *lines) find(t testing.TB, what string, position int, ok func(line string) bool) string {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		some, next, ended, more := l.after(position)
		for _, line := range some {
			if ok(line) {
				return line
			}
		}
		if position = next; ended {
			t.Fatalf("the output ended without %s", what)
		}
		select {
		case <-more:
		case <-timeout.C:
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

// process is a child process of a test. It is killed at the test's end if it
// is still there.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer // its end tells our own servers to end
	stdout *lines
	stderr *lines
	exited chan struct{}
}

func start(t testing.TB, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, stdout: newLines(), stderr: newLines(), exited: make(chan struct{})}
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
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
	var reading sync.WaitGroup
	reading.Go(func() { p.stdout.read(stdout) })
	reading.Go(func() { p.stderr.read(stderr) })
	go func() {
		defer close(p.exited)
		reading.Wait()
		cmd.Wait() // the status is in cmd.ProcessState
	}()
	t.Cleanup(func() { p.cleanUp(t) })
	return p
}

func (p *process) cleanUp(t testing.TB) {
	p.cmd.Process.Kill()
	<-p.exited
	said := p.stderr.text()
	for _, word := range []string{"panic: ", "fatal error: ", "DATA RACE"} {
		if i := strings.Index(said, word); i >= 0 {
			t.Errorf("%s: %.4000s", p.name, said[i:])
			return
		}
	}
	if t.Failed() {
		const most = 4000
		if len(said) > most {
			said = "…" + said[len(said)-most:]
		}
		t.Logf("%s said:\n%s", p.name, said)
	}
}

func (p *process) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %v to %s: %v", s, p.name, err)
	}
}

// kill ends the process as kill -9 does, and waits until it has.
func (p *process) kill(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	<-p.exited
}

// wait waits for the process's end, within limit, and returns its status.
func (p *process) wait(t testing.TB, limit time.Duration) int {
	t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-timeout.C:
		t.Fatalf("%s is still there after %v", p.name, limit)
		return -1
	}
}

// outcome is what a command did that ran to its end.
type outcome struct {
	status         int
	stdout, stderr string
}

// run runs the binary to its end.
func run(t testing.TB, args ...string) outcome {
	t.Helper()
	return runIn(t, t.TempDir(), args...)
}

func runIn(t testing.TB, dir string, args ...string) outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), holdfast, args...)
	cmd.Dir = dir
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

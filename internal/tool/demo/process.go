package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	// A server prints its address as soon as it listens.
	startTimeout = 10 * time.Second
	// A server exits as soon as it is told to, unless it hangs.
	stopTimeout = 3 * time.Second
	// maxLine limits a line of a server's output, in bytes.
	maxLine = 4 << 10
)

// starter starts server processes.
type starter struct {
	executable string
	redis      string // URL
	out        *printer
}

// process is a server process.
type process struct {
	name    string
	address string // where it listens
	cmd     *exec.Cmd
	// stdin is for commands. The server exits at its end, which also happens if
	// this process is killed and the kernel closes the pipe.
	stdin  io.WriteCloser
	exited chan struct{} // closed when cmd.Wait has returned
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// start starts a server that listens on listen, and waits until it does.
func (s *starter) start(ctx context.Context, name, listen string) (*process, error) {
	cmd := exec.Command(s.executable, "demo-server", "--name", name, "--listen", listen)
	cmd.Env = append(os.Environ(), redisEnv+"="+s.redis)
	// Ctrl-C in a terminal signals the whole foreground process group, but the
	// servers must run until the balancer has closed its sessions.
	ownProcessGroup(cmd)
	address := make(chan string, 1)
	cmd.Stdout = &lineWriter{line: func(line string) {
		select {
		case address <- line:
		default: // only the first line has a meaning
		}
	}}
	var lastError lastLine
	cmd.Stderr = &lineWriter{line: func(line string) {
		lastError.set(line)
		s.out.printf("%s: %s\n", name, line)
	}}
	// A grandchild could keep the output open, and Wait would never return.
	cmd.WaitDelay = time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("server %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, stdin: stdin, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // cmd.ProcessState has the result
	}()

	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case p.address = <-address:
		return p, nil
	case <-p.exited:
		if said := lastError.get(); said != "" {
			return nil, fmt.Errorf("server %s did not start: %s", name, said)
		}
		return nil, fmt.Errorf("server %s did not start: %s", name, p.ending())
	case <-timeout.C:
		err = fmt.Errorf("server %s did not print its address within %v", name, startTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.kill()
	return nil, err
}

// ending describes how the process exited: "killed", "exit status 1".
func (p *process) ending() string {
	return strings.TrimPrefix(p.cmd.ProcessState.String(), "signal: ")
}

// drain tells the process to drain. It doesn't wait for that.
func (p *process) drain() error {
	_, err := io.WriteString(p.stdin, drainCommand+"\n")
	return err
}

// stop tells the process to exit, kills it after stopTimeout, and waits until it has
// exited.
func (p *process) stop() {
	_ = p.stdin.Close() // fails only if already closed
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.exited:
	case <-timeout.C:
		p.kill()
	}
}

func (p *process) kill() {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		// Without the permission to kill it, waiting could take forever.
		return
	}
	<-p.exited
}

// lineWriter calls line for every line written to it, without its newline.
type lineWriter struct {
	line func(string)
	rest []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			break
		}
		w.line(strings.TrimSuffix(string(w.rest[:i]), "\r"))
		w.rest = w.rest[i+1:]
	}
	if len(w.rest) > maxLine {
		w.line(string(w.rest))
		w.rest = nil
	}
	return len(b), nil
}

// lastLine keeps the last line that a process wrote.
type lastLine struct {
	mu   sync.Mutex
	line string
}

func (l *lastLine) set(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = line
}

func (l *lastLine) get() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line
}

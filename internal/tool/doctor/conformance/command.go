package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// shell returns a command for the system's shell, with the server in its environment. It
// doesn't end with the doctor.
func (t *test) shell(text string, i int) *exec.Cmd {
	c := exec.Command("/bin/sh", "-c", text)
	if runtime.GOOS == "windows" {
		c = exec.Command("cmd", "/C", text)
	}
	c.Env = append(os.Environ(), "HOLDFAST_URL="+t.o.URLs[i], fmt.Sprintf("HOLDFAST_SERVER=%d", i+1))
	return c
}

// command runs the command of a flag to its end.
func (t *test) command(ctx context.Context, flag, text string, i int) error {
	c := t.shell(text, i)
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	c.WaitDelay = time.Second // a process that it has started may keep the pipe
	if err := c.Start(); err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
			return fmt.Errorf("%s %q: %w: %.200s", flag, text, err, strings.TrimSpace(out.String()))
		}
		return nil
	case <-ctx.Done():
	case <-time.After(t.o.Timeout):
	}
	_ = c.Process.Kill()
	<-ended
	return fmt.Errorf("%s %q: it didn't end within %v", flag, text, t.o.Timeout)
}

// restart runs the command of --start, and waits until the server accepts connections.
// The process may go on.
func (t *test) restart(ctx context.Context, i int) error {
	c := t.shell(t.o.Start, i)
	if err := c.Start(); err != nil {
		return fmt.Errorf("--start: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	var failed error
	up := await(ctx, 3*t.o.Timeout, func() bool {
		select {
		case failed = <-ended:
		default:
		}
		if failed != nil {
			return true
		}
		probe, err := net.DialTimeout("tcp", t.links[i].server, time.Second)
		if err == nil {
			probe.Close()
		}
		return err == nil
	})
	switch {
	case failed != nil:
		return fmt.Errorf("--start %q: %w", t.o.Start, failed)
	case !up:
		return fmt.Errorf("--start %q: %s doesn't accept connections", t.o.Start, t.o.URLs[i])
	}
	return nil
}

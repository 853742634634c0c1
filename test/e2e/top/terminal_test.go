//go:build unix

package top

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// terminal is a pseudo-terminal with a program in it, and an emulator that shows what the
// program draws and answers its questions.
type terminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	tty    *os.File // the emulator's side
	exited chan struct{}

	mu     sync.Mutex // guards the following
	screen *vt.Emulator
	raw    []byte // all that the program wrote
}

// start runs a program in a terminal of this size. environment is added to a plain one.
func start(t *testing.T, width, height int, environment []string, name string, args ...string) *terminal {
	t.Helper()
	term := &terminal{t: t, cmd: exec.Command(name, args...), screen: vt.NewEmulator(width, height), exited: make(chan struct{})}
	term.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TERM=xterm-256color", "LANG=C.UTF-8"}, environment...)
	var err error
	term.tty, err = pty.StartWithSize(term.cmd, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)})
	if err != nil {
		t.Fatalf("starting %s in a terminal: %v", name, err)
	}
	var copies sync.WaitGroup
	copies.Go(func() { io.Copy(term.tty, term.screen) }) // answers of the emulator
	copies.Go(func() {
		buffer := make([]byte, 64<<10)
		for {
			n, err := term.tty.Read(buffer)
			if err != nil { // EIO: the program has ended
				return
			}
			term.mu.Lock()
			term.raw = append(term.raw, buffer[:n]...)
			term.screen.Write(buffer[:n])
			term.mu.Unlock()
		}
	})
	go func() {
		term.cmd.Wait()
		close(term.exited)
	}()
	t.Cleanup(func() {
		term.cmd.Process.Kill()
		<-term.exited
		term.tty.Close()
		term.screen.Close()
		copies.Wait()
		if t.Failed() {
			t.Logf("the last screen:\n%s", term.text())
		}
	})
	return term
}

// text is what the screen shows.
func (term *terminal) text() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	lines := strings.Split(ansi.Strip(term.screen.Render()), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \r")
	}
	return strings.Join(lines, "\n")
}

// written is all that the program wrote to the terminal.
func (term *terminal) written() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return string(term.raw)
}

// press sends keys, or a text.
func (term *terminal) press(keys ...string) {
	term.t.Helper()
	for _, k := range keys {
		if _, err := io.WriteString(term.tty, k); err != nil {
			term.t.Fatal(err)
		}
	}
}

// As terminals send them.
const (
	enter = "\r"
	ctrlX = "\x18"
	ctrlZ = "\x1a"
	down  = "\x1b[B"
)

// await waits until the screen matches a pattern, and returns it.
func (term *terminal) await(pattern string) (screen string) {
	term.t.Helper()
	want := regexp.MustCompile(pattern)
	testkit.Eventually(term.t, "a screen with "+pattern, func() bool {
		screen = term.text()
		return want.MatchString(screen)
	})
	return screen
}

// resize changes the size of the terminal.
func (term *terminal) resize(width, height int) {
	term.mu.Lock()
	term.screen.Resize(width, height)
	term.mu.Unlock()
	if err := pty.Setsize(term.tty, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		term.t.Fatal(err)
	}
}

// status waits for the end of the program and returns its exit status.
func (term *terminal) status() int {
	term.t.Helper()
	select {
	case <-term.exited:
	case <-time.After(testkit.Patience):
		term.t.Fatal("it still runs")
	}
	return term.cmd.ProcessState.ExitCode()
}

// line returns the first line of a screen that has a text, "" if none has.
func line(screen, text string) string {
	for l := range strings.Lines(screen) {
		if strings.Contains(l, text) {
			return l
		}
	}
	return ""
}
